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
        for cell in copied.cells:  # the pages that lessons link to lie beside them here
            cell.source = cell.source.replace("](../notebooks/", "](")
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
    """Say where a solution stands in a learners' lesson.

    An exercise may start with lines of its solution, as a patient of the clinic does; these give nothing away, but the
    whole of it does, and so do lines that are the solution's own in any other cell.
    """
    blanks = {_name(cell, "exercise"): cell for cell in learners.cells if _name(cell, "exercise")}
    own = {
        name: _windows(answer) - (_windows(blanks[name].source) if name in blanks else set())
        for name, answer in answers.items()
    }
    for cell in learners.cells:
        if re.search(r"<summary>\s*Solution", cell.source, re.I) or _name(cell, "solution"):
            yield f"cell '{cell.id}' of the learners' copy is a solution"
        here = _windows(cell.source)
        for name, answer in answers.items():
            whole = cell is blanks.get(name) and _windows(answer) and not own[name]
            if whole or own[name] & here:
                yield f"cell '{cell.id}' of the learners' copy gives away the solution of {name}"


def _windows(source: str) -> set[tuple[str, ...]]:
    """Return every few lines in a row, without indents and empty lines."""
    lines = [line.strip() for line in source.splitlines() if line.strip()]
    return {tuple(lines[at : at + _ALIKE]) for at in range(len(lines) - _ALIKE + 1)}


def _name(cell: NotebookNode, kind: str) -> str | None:
    return next((tag.partition(":")[2] for tag in tags(cell) if tag.startswith(f"{kind}:")), None)


def _code(cell: NotebookNode) -> str:
    return re.search(r"```python\n(.*?)```", cell.source, re.S)[1].strip("\n")
