"""The table of all claims: what learners believe, what the stored runs say of it, and which call helps."""

import ast
import re
from collections.abc import Mapping
from pathlib import Path

from files import LESSONS, ROOT, as_text, shown
from nbformat import NotebookNode

from notebooks import code_cells, read, tags

TABLE = LESSONS / "claims.md"
NOT_RUN = "NOT RUN"  # a claim about a device that is not there

_HEAD = """\
# What the lessons decide

Learners arrive with these beliefs. Each is decided by an experiment in its lesson: a cell asserts the verdict and
prints it, and this table quotes what it printed. The last column names the calls that it explains; `help` of the call
names the claim. Made by `make claims` from the stored runs, which are the CPU's.
"""
_COLUMNS = "| id | belief | verdict | what the run says | call |\n| --- | --- | --- | --- | --- |"


def decided(cell: NotebookNode, name: str) -> str:
    """Return what a claim's cell printed behind its id, in one line, or "" when it printed nothing of the kind."""
    printed = "".join(as_text(output.text) for output in cell.outputs if output.get("name") == "stdout")
    found = re.search(rf"^{name}[,:] (.+)", printed, re.S | re.M)
    return " ".join(found[1].split()) if found else ""


def fault(cell: NotebookNode, name: str, verdict: str) -> str | None:
    """Say what is wrong with the verdict that a claim's cell printed; None when it agrees with the list."""
    said = decided(cell, name)
    if NOT_RUN in said or re.search(rf"\b{verdict}\b", said):
        return None
    return f"cell '{cell.id}' prints no line '{name}, …: {verdict}', the verdict in tests/claims.toml"


def table(claims: Mapping[str, Mapping], lessons: Path = LESSONS) -> str:
    """Return the page: for each lesson its claims, with the verdict and what the run says."""
    parts, explained = [_HEAD], calls()
    for lesson, listed in claims.items():
        path = lessons / f"{lesson}.ipynb"
        if not path.exists():
            continue
        nb = read(path)
        cells = {tag.removeprefix("claim:"): cell for cell in code_cells(nb) for tag in tags(cell)}
        title = re.match(r"# (.+?)(?::.*)?$", nb.cells[0].source, re.M)[1]
        parts.append(f"## [{title}]({path.name})\n\n{_COLUMNS}")
        for name, claim in listed.items():
            said = decided(cells[name], name)
            verdict = "not run here" if NOT_RUN in said else f"**{claim['verdict']}**"
            helps = ", ".join(f"`{call}`" for call in explained.get(name, []))
            parts[-1] += f"\n| {name} | {_cell(claim['claim'])} | {verdict} | {_cell(said)} | {helps} |"
        parts[-1] += "\n"
    return "\n".join(parts)


def calls() -> dict[str, list[str]]:
    """Return claim -> the calls whose docstring names it, read from the source without importing it."""
    helps: dict[str, list[str]] = {}
    for path in sorted((ROOT / "featlab").glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.FunctionDef | ast.ClassDef):
                continue
            if named := re.search(r"^Claims: (.+)\.$", ast.get_docstring(node) or "", re.M):
                for name in named[1].split(", "):
                    helps.setdefault(name, []).append(_spelled(path.stem, node.name))
    return helps


def _spelled(room: str, name: str) -> str:
    """Return how a call is written: through the door where it is one of the door's, else through its room."""
    door = (ROOT / "featlab" / "__init__.py").read_text(encoding="utf-8")
    return f"fl.{name}" if f'"{name}": "{room}"' in door else f"fl.{room}.{name}"


def _cell(text: str) -> str:
    """Return text that Markdown shows as it stands inside a table."""
    return re.sub(r"([|*_`<])", r"\\\1", text)


def stale(claims: Mapping[str, Mapping]) -> str | None:
    """Say that the stored table is not what the lessons say; None when it is."""
    if TABLE.exists() and TABLE.read_text(encoding="utf-8") == table(claims):
        return None
    return f"{shown(TABLE)} is not what the lessons say: run `make claims`"
