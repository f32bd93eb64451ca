"""Read and store notebooks in one normal form, so that a re-run leaves no difference behind."""

import ast
import copy
import json
import re
from collections.abc import Mapping
from pathlib import Path

import nbformat
from files import LessonFailed, as_text, shown
from nbformat import NotebookNode, from_dict

# what differs between two runs of one cell; tests/nbval_sanitize.cfg must agree
SUBSTITUTIONS = [
    (r"0x[0-9a-fA-F]{6,16}", "0x…"),
    (r"\S*ipykernel_\d+[/\\]\d+\.py", "<cell>"),
]
KEPT_CELL_METADATA = ("tags", "jupyter")
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def read(path: Path) -> NotebookNode:
    """Return the notebook in format 4.5; raise LessonFailed when the file is no such notebook."""
    try:
        # not nbformat.reads: it repairs ids with random ones
        nb = nbformat.v4.reads(Path(path).read_text(encoding="utf-8"))
        if nb.nbformat != 4:
            raise ValueError("its format is not 4")
        nb.nbformat_minor = 5
        for number, cell in enumerate(nb.cells, start=1):
            cell.setdefault("id", f"cell-{number}")
        ids = [cell.id for cell in nb.cells]
        if doubled := sorted({one for one in ids if ids.count(one) > 1}):
            raise ValueError(f"several cells have the id '{doubled[0]}'")
        nbformat.validate(nb)
    except (OSError, ValueError, AttributeError, nbformat.ValidationError) as error:
        raise LessonFailed(f"{shown(path)} cannot be read as a notebook: {str(error).splitlines()[0]}") from None
    return nb


def code_cells(nb: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


# ---- parameters


def parameters(nb: NotebookNode) -> dict[str, object]:
    """Return what the cell tagged `parameters` sets; raise LessonFailed when papermill could not replace it."""
    cells = [cell for cell in code_cells(nb) if "parameters" in tags(cell)]
    if len(cells) != 1:
        raise LessonFailed(f"it has {len(cells)} code cells tagged parameters, and needs exactly one")
    values = {}
    try:
        for statement in ast.parse(cells[0].source).body:
            target = statement.targets[0] if isinstance(statement, ast.Assign) and len(statement.targets) == 1 else None
            if not isinstance(target, ast.Name) or target.id in values:
                raise ValueError
            values[target.id] = ast.literal_eval(statement.value)
    except (ValueError, SyntaxError):
        raise LessonFailed(
            f"cell '{cells[0].id}' is tagged parameters, and may only hold lines like name = literal, each name once"
        ) from None
    missing = [name for name in ("device", "seed") if name not in values]
    if missing:
        raise LessonFailed(f"cell '{cells[0].id}' has no parameter {' and no '.join(missing)}")
    return values


def with_parameters(nb: NotebookNode, values: Mapping[str, object]) -> NotebookNode:
    """Return a copy with papermill's cell of new values; a name that the lesson does not declare is refused."""
    from papermill.parameterize import parameterize_notebook

    nb, known = copy.deepcopy(nb), parameters(nb)
    for name in values:
        if name not in known:
            raise LessonFailed(f"there is no parameter '{name}'; it has {', '.join(known)}")
    nb.metadata.setdefault("papermill", from_dict({}))  # papermill reads these unasked
    for cell in nb.cells:
        cell.metadata.setdefault("tags", [])
    return parameterize_notebook(nb, dict(values), kernel_name="python3", language="python")


# ---- normal form


def scrub(text: str) -> str:
    for pattern, replacement in SUBSTITUTIONS:
        text = re.sub(pattern, replacement, text)
    return text


def _output(output: NotebookNode, count: int | None) -> NotebookNode:
    """Return one output without what belongs to the machine or to this run."""
    if output.output_type == "stream":
        output.text = scrub(as_text(output.text))
    elif output.output_type in ("display_data", "execute_result"):
        output.data.pop(WIDGET_VIEW, None)  # the id of a model that is gone; the static faces stay
        for mime in output.data:
            if mime.startswith("text/"):
                output.data[mime] = scrub(as_text(output.data[mime]))
        # size and alt text of a picture
        output.metadata = from_dict({k: v for k, v in output.metadata.items() if k.startswith("image/")})
        if output.output_type == "execute_result":
            output.execution_count = count
    return output


def _outputs(outputs: list[NotebookNode], count: int | None) -> list[NotebookNode]:
    """Normalise outputs; between two displays all of stdout comes first, then all of stderr."""
    result, streams = [], {}
    for output in (_output(output, count) for output in outputs):
        if output.output_type == "stream":
            streams.setdefault(output.name, []).append(output)
            continue
        result += _merged(streams)
        streams = {}
        if output.output_type == "error" or output.data:
            result.append(output)
    return result + _merged(streams)


def _merged(streams: dict[str, list[NotebookNode]]) -> list[NotebookNode]:
    merged = []
    for name in sorted(streams, reverse=True):  # "stdout" before "stderr"
        first, *rest = streams[name]
        first.text += "".join(output.text for output in rest)
        merged.append(first)
    return merged


def _masked(cell: NotebookNode) -> list[str]:
    """Return a cell's outputs as text in which every figure, and the width it takes, looks the same."""
    texts = [output.get("text") or json.dumps(output.get("data", {}).get("text/plain", "")) for output in cell.outputs]
    return [re.sub(r"[\d.\s-]+", "#", text) for text in texts]


def keep_wobbling(new: NotebookNode, old: NotebookNode) -> NotebookNode:
    """Put old outputs back into cells tagged `nbval-ignore-output` in which only figures (versions, times) differ."""
    stored = {cell.id: cell for cell in code_cells(old)}
    for cell in code_cells(new):
        before = stored.get(cell.id)
        if "nbval-ignore-output" in tags(cell) and before and before.outputs and _masked(before) == _masked(cell):
            cell.outputs = before.outputs
    return new


def normalise(nb: NotebookNode) -> NotebookNode:
    """Return a copy in normal form: counts 1..N, no widget state, nothing of the machine or the front end."""
    nb = copy.deepcopy(nb)
    nb.nbformat, nb.nbformat_minor = 4, 5
    nb.metadata = from_dict(NOTEBOOK_METADATA)
    count = 0
    for cell in nb.cells:
        kept = {key: cell.metadata[key] for key in KEPT_CELL_METADATA if cell.metadata.get(key)}
        cell.metadata = from_dict(kept)
        cell.source = as_text(cell.source).strip("\n")
        if cell.cell_type == "code":
            if cell.execution_count is not None:  # a cell that was never run stays visible as such
                count += 1
                cell.execution_count = count
            cell.outputs = _outputs(cell.outputs, cell.execution_count)
    return nb


def dumps(nb: NotebookNode) -> str:
    """Return the file's text of a notebook in normal form."""
    return nbformat.writes(normalise(nb)).rstrip("\n") + "\n"


def blank(nb: NotebookNode) -> NotebookNode:
    """Return a copy in normal form without outputs and counts."""
    nb = normalise(nb)
    for cell in code_cells(nb):
        cell.outputs, cell.execution_count = [], None
    return nb
