"""Write a workshop's lessons: the learners' without solutions, the instructors' with all of them filled in and run."""

import ast
import copy
import re
from collections.abc import Iterator
from pathlib import Path

from files import ROOT, LessonFailed, shown, store
from kernels import execute
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from notebooks import blank, dumps, read, tags

WORKSHOP = ROOT / "workshop"
_ALIKE = 3  # lines in a row that give a solution away


def write(path: Path, target: Path = WORKSHOP) -> str:
    """Write both copies of one lesson; raise LessonFailed when a solution would be left in the learners'."""
    nb = read(path)
    learners, answers = without_solutions(nb), solutions(nb)
    if left := list(leaks(learners, answers)):
        raise LessonFailed("\n".join(f"{shown(path)}: {sentence}" for sentence in left))
    instructors = execute(with_solutions(nb), path)
    for folder, copied in {"learners": learners, "instructors": instructors}.items():
        (target / folder).mkdir(parents=True, exist_ok=True)
        store(target / folder / path.name, dumps(copied))
    return f"{len(answers)} solutions taken out for learners, filled in and run for instructors"


def solutions(nb: NotebookNode) -> dict[str, str]:
    """Return exercise -> the code of its folded solution."""
    return {_name(cell, "solution"): _code(cell) for cell in nb.cells if _name(cell, "solution")}


def without_solutions(nb: NotebookNode) -> NotebookNode:
    """Return the lesson as a learner gets it: no solutions, and no outputs, which would answer the predictions."""
    nb = blank(nb)
    nb.cells = [cell for cell in nb.cells if not _name(cell, "solution")]
    return nb


def with_solutions(nb: NotebookNode) -> NotebookNode:
    """Return the lesson with every solution unfolded, and a cell behind it that runs and checks it."""
    nb, cells, checks = copy.deepcopy(nb), [], {}
    for cell in nb.cells:
        cells.append(cell)
        if name := _name(cell, "exercise"):
            lines, last = cell.source.splitlines(), ast.parse(cell.source).body[-1]
            checks[name] = "\n".join(lines[last.lineno - 1 :])
        if name := _name(cell, "solution"):
            cells.append(new_code_cell(f"{_code(cell)}\n\n{checks[name]}", id=f"{cell.id}-run"))
            cell.source = cell.source.replace("<details>", "<details open>")
    nb.cells = cells
    return nb


def leaks(learners: NotebookNode, answers: dict[str, str]) -> Iterator[str]:
    """Say where lines of a solution stand in a learners' lesson."""
    for cell in learners.cells:
        if re.search(r"<summary>\s*Solution", cell.source, re.I) or _name(cell, "solution"):
            yield f"cell '{cell.id}' of the learners' copy is a solution"
        there = _lines(cell.source)
        windows = {tuple(there[at : at + _ALIKE]) for at in range(len(there))}
        for name, answer in answers.items():
            lines = _lines(answer)
            size = min(_ALIKE, len(lines))
            given = {tuple(lines[at : at + size]) for at in range(len(lines) - size + 1)}
            if size == _ALIKE and given & windows:
                yield f"cell '{cell.id}' of the learners' copy gives away the solution of {name}"


def _lines(source: str) -> list[str]:
    return [line.strip() for line in source.splitlines() if line.strip()]


def _name(cell: NotebookNode, kind: str) -> str | None:
    return next((tag.partition(":")[2] for tag in tags(cell) if tag.startswith(f"{kind}:")), None)


def _code(cell: NotebookNode) -> str:
    return re.search(r"```python\n(.*?)```", cell.source, re.S)[1].strip("\n")
