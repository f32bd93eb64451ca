"""Say what is wrong with a stored lesson, without running it."""

import ast
import importlib.util
import re
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from claims import fault as verdict_fault
from files import ROOT, LessonFailed, as_text
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode

from notebooks import WIDGET_VIEW, code_cells, dumps, parameters, read, tags

KNOWN_TAGS = {"parameters", "colab", "hide-input", "nbval-ignore-output"}
NAMED_TAGS = {"claim", "exercise", "solution"}  # claim:T1, exercise:strides_of
HUMAN_ID = re.compile(r"(?![0-9a-f]{8}(-|$)|cell-\d+$)[A-Za-z][\w-]{1,40}")
MOST_BYTES = 1_000_000
MOST_LINES, MOST_EXERCISE_LINES, MOST_WORDS = 15, 25, 120
MOST_COLUMNS = 94  # JupyterLab on a screen of 1280 pixels cuts off what is longer

_here = {str(ROOT), sys.prefix, str(Path.home()), tempfile.gettempdir()} - {"/"}
ABSOLUTE_PATH = re.compile(
    r"(?<![\w.:/~])(?:/(?:home|Users|tmp|root)(?![\w-])|" + "|".join(map(re.escape, sorted(_here))) + r")[^\s\"'<]*"
    r"|\bfile://\S+|\b[A-Za-z]:[\\/]+(?:Users|Windows|Program|Temp)\b\S*|(?<!\S)\S*site-packages\S*"
)


def read_claims() -> dict[str, dict]:
    """Return tests/claims.toml: lesson -> the ids of the claims it has to decide."""
    return tomllib.loads((ROOT / "tests" / "claims.toml").read_text(encoding="utf-8"))


def problems(path: Path, claims: Mapping[str, Mapping]) -> list[str]:
    """Return one sentence for each fault of a stored lesson.

    Args:
        claims: lesson -> the ids of the claims it has to decide, as `read_claims` gives them.
    """
    nb = read(path)
    found = [
        *_file(path, nb),
        *_cells(nb),
        *_colab(nb),
        *_parameters(nb),
        *_claims(nb, path.stem, claims),
        *_exercises(nb, path.stem),
        *_outputs(nb),
        *_paths(nb),
        *_pictures(nb),
        *_links(nb, path.parent),
    ]
    if not found and path.read_text(encoding="utf-8") != dumps(nb):
        found.append("it is not in normal form: store it with `make notebooks`")
    return found


def _file(path: Path, nb: NotebookNode) -> Iterator[str]:
    if (size := path.stat().st_size) >= MOST_BYTES:
        yield f"it has {size / 1e6:.1f} MB; a lesson stays under {MOST_BYTES / 1e6:g} MB"
    if "widgets" in nb.metadata:
        yield "it stores widget state (metadata.widgets)"


def _cells(nb: NotebookNode) -> Iterator[str]:
    """Check each cell by itself: id, tags, length, whether it was run."""
    for number, cell in enumerate(nb.cells, start=1):
        here = cell.id
        if not HUMAN_ID.fullmatch(here):
            yield f"cell {number} has the id '{here}': give it a lasting name such as 'share-write'"
        for tag in tags(cell):
            kind, _, name = tag.partition(":")
            if tag not in KNOWN_TAGS and not (kind in NAMED_TAGS and name):
                yield f"cell '{here}' has the unknown tag '{tag}'"
        if cell.cell_type == "code":
            yield from _code(cell)
        elif cell.cell_type == "markdown" and (words := _words(cell.source)) > MOST_WORDS:
            yield f"cell '{here}' has {words} words of prose; {MOST_WORDS} at most"

    unrun = [cell.id for cell in code_cells(nb) if cell.source.strip() and cell.execution_count is None]
    if unrun:
        yield f"{len(unrun)} cells were never run: {', '.join(unrun[:9])}{' …' * (len(unrun) > 9)}"


def _code(cell: NotebookNode) -> Iterator[str]:
    lines = len(cell.source.strip().splitlines())
    most = MOST_EXERCISE_LINES if _names(cell, "exercise") else MOST_LINES
    if lines > most:
        yield f"cell '{cell.id}' has {lines} lines of code; {most} at most"
    columns = max(map(len, cell.source.splitlines()), default=0)
    if columns > MOST_COLUMNS and "colab" not in tags(cell):
        yield f"cell '{cell.id}' has a line of {columns} columns; {MOST_COLUMNS} at most"
    if not lines:
        yield f"cell '{cell.id}' is blank"
    if _tree(cell) is None:
        yield f"cell '{cell.id}' is not valid Python"


def _names(cell: NotebookNode, kind: str) -> list[str]:
    """Return ["T1"] for a cell tagged claim:T1 when asked for "claim"."""
    return [tag.partition(":")[2] for tag in tags(cell) if tag.startswith(f"{kind}:")]


def _named(nb: NotebookNode, kind: str) -> dict[str, list[NotebookNode]]:
    cells = defaultdict(list)
    for cell in nb.cells:
        for name in _names(cell, kind):
            cells[name].append(cell)
    return cells


def _tree(cell: NotebookNode) -> ast.Module | None:
    try:
        return ast.parse(TransformerManager().transform_cell(cell.source))
    except SyntaxError:
        return None


def _walk(cell: NotebookNode) -> Iterator[ast.AST]:
    return ast.walk(_tree(cell) or ast.Module(body=[], type_ignores=[]))


def _words(markdown: str) -> int:
    """Count the words of prose: no folds, no code blocks, no tables, no addresses of links."""
    not_prose = r"<details\b.*?</details>|^```.*?^```|^\s*\|.*?$|<[^>]*>|\]\([^)]*\)"
    return len(re.findall(r"\w[\w'’.-]*", re.sub(not_prose, " ", markdown, flags=re.S | re.M)))


def _parameters(nb: NotebookNode) -> Iterator[str]:
    try:
        names = set(parameters(nb))
    except LessonFailed as error:
        yield str(error)
        return
    read_names = {node.id for cell in code_cells(nb) for node in _walk(cell) if _is_read(node)}
    for name in sorted(names - read_names - {"seed"}):  # not every lesson is random
        yield f"nothing reads the parameter '{name}'"


def _is_read(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)


def _colab(nb: NotebookNode) -> Iterator[str]:
    cells = [cell for cell in code_cells(nb) if "colab" in tags(cell)]
    if len(cells) != 1 or "%pip install -q git+https://github.com/" not in cells[0].source:
        yield "it needs exactly one code cell tagged colab that installs featlab there"


def _asserts(cell: NotebookNode) -> bool:
    """Tell whether the cell asserts something that could come out false: a test that reads at least one name."""
    tests = [node.test for node in _walk(cell) if isinstance(node, ast.Assert) and not isinstance(node.test, ast.Tuple)]
    return any(_is_read(node) for test in tests for node in ast.walk(test))


def _claims(nb: NotebookNode, lesson: str, claims: Mapping[str, Mapping]) -> Iterator[str]:
    owner = {name: owner for owner, names in claims.items() for name in names}
    tagged = _named(nb, "claim")
    for name, cells in tagged.items():
        if name not in owner:
            yield f"cell '{cells[0].id}' claims {name}, which tests/claims.toml does not know"
        elif owner[name] != lesson:
            yield f"cell '{cells[0].id}' claims {name}, which belongs to {owner[name]}"
        if len(cells) > 1:
            yield f"{name} is claimed by {len(cells)} cells: {', '.join(cell.id for cell in cells)}"
        for cell in cells:
            if cell.cell_type != "code" or not _asserts(cell):
                yield f"cell '{cell.id}' claims {name} but asserts nothing that could be false"
    for name, claim in claims.get(lesson, {}).items():
        if name not in tagged:
            yield f"no cell is tagged claim:{name}"
        elif "verdict" in claim and (wrong := verdict_fault(tagged[name][0], name, claim["verdict"])):
            yield wrong


def _exercises(nb: NotebookNode, lesson: str) -> Iterator[str]:
    exercises, solutions = _named(nb, "exercise"), _named(nb, "solution")
    for name, cells in exercises.items():
        if not any(_checks(node, name) for node in _walk(cells[0])):
            yield f"cell '{cells[0].id}' does not call practice.check(\"{name}\", …)"
    for name in exercises.keys() ^ solutions.keys():
        has, lacks = ("exercise", "solution") if name in exercises else ("solution", "exercise")
        yield f"there is a cell {has}:{name} but no cell {lacks}:{name}"
    for name, cells in solutions.items():
        if not all(mark in cells[0].source for mark in ("<details>", "<summary>", "```python")):
            yield f"cell '{cells[0].id}' must fold the solution of {name}: <details>, <summary>, a ```python block"
    if importlib.util.find_spec("featlab") is not None:
        from featlab.exercises import of_lesson  # imports torch: only here

        registered = {known.name for known in of_lesson(lesson)}
        for name in sorted(exercises.keys() - registered):
            yield f"exercise:{name} has no check of {lesson} in featlab.exercises"
        for name in sorted(registered - exercises.keys()):
            yield f"featlab.exercises has a check '{name}' for this lesson, but no cell is tagged exercise:{name}"


def _checks(node: ast.AST, name: str) -> bool:
    """Tell whether the node is a call such as practice.check("NAME", …)."""
    if not isinstance(node, ast.Call) or getattr(node.func, "attr", None) != "check" or not node.args:
        return False
    return getattr(node.args[0], "value", None) == name


def _outputs(nb: NotebookNode) -> Iterator[str]:
    for cell in code_cells(nb):
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"cell '{cell.id}' stores an error: {output.ename}: {output.evalue}"
            if WIDGET_VIEW in output.get("data", {}):
                yield f"cell '{cell.id}' stores a widget's view"


def _texts(cell: NotebookNode) -> Iterator[str]:
    yield cell.source
    for output in cell.get("outputs", []):
        yield as_text(output.get("text", ""))
        data = output.get("data", {})
        yield from (as_text(data[mime]) for mime in data if mime.startswith(("text/", "image/svg")))


def _paths(nb: NotebookNode) -> Iterator[str]:
    for cell in nb.cells:
        if match := next(filter(None, map(ABSOLUTE_PATH.search, _texts(cell))), None):
            yield f"cell '{cell.id}' holds a path of one machine: {match[0]}"


def _pictures(nb: NotebookNode) -> Iterator[str]:
    """Ask for words beside each picture: alt text, or prose in the next cell or, after a comparison, the one after."""
    for index, cell in enumerate(nb.cells):
        if cell.cell_type == "markdown":
            if re.search(r"!\[\s*\]\(|<img(?![^>]*\balt=[\"'][^\"'])", cell.source):
                yield f"cell '{cell.id}' has a picture without alt text"
            continue
        pictures = [o for o in cell.get("outputs", []) if any(mime.startswith("image/") for mime in o.get("data", {}))]
        alt = all(any("alt" in about for about in o.metadata.values()) for o in pictures)
        if not alt and not any(map(_is_prose, nb.cells[index + 1 : index + 3])):
            yield f"cell '{cell.id}' shows a picture: say the same in a prose cell right after it"


def _is_prose(cell: NotebookNode) -> bool:
    """Tell whether the cell says something besides a heading."""
    return cell.cell_type == "markdown" and _words(re.sub(r"(?m)^#.*$", "", cell.source)) > 0


def _links(nb: NotebookNode, folder: Path) -> Iterator[str]:
    """Check that relative links lead somewhere, also from the learners' copies in a folder beside this one."""
    for cell in nb.cells:
        source = re.sub(r"```.*?```|`[^`]*`", "", cell.source, flags=re.S) if cell.cell_type == "markdown" else ""
        for target in re.findall(r"(?:\]\(\s*|(?:src|href)=[\"'])([^)#\s\"']+)", source):
            if re.match(r"[a-z][a-z0-9+.-]*:", target):  # https:, attachment:
                continue
            if not (folder / target).exists():
                yield f"cell '{cell.id}' links to {target}, which does not exist"
            elif not target.startswith("../") and not target.endswith(".ipynb"):
                yield f"cell '{cell.id}' links to {target}: write ../{folder.name}/{target}, which works in copies too"
