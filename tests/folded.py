"""What a lesson holds for its exercises: the blank a learner fills, the folded solution, and the check on either."""

import ast
import json
import re
from pathlib import Path

import pytest

from featlab import practice

LESSONS = Path(__file__).parents[1] / "notebooks"


def kernel(lesson: str):
    """Return a fixture in which each test has begun the lesson anew, in a folder of its own."""

    @pytest.fixture(autouse=True)
    def begun(monkeypatch, tmp_path):
        monkeypatch.setattr(practice, "_lessons", {})
        monkeypatch.chdir(tmp_path)
        practice.begin(lesson)

    return begun


def cells(lesson: str) -> list[dict]:
    return json.loads(LESSONS.joinpath(f"{lesson}.ipynb").read_text("utf-8"))["cells"]


def tagged(lesson: str, tag: str) -> str:
    """Return the source of the one cell that carries the tag."""
    (found,) = [cell for cell in cells(lesson) if tag in cell["metadata"].get("tags", [])]
    return "".join(found["source"])


def exercises_of(lesson: str) -> list[str]:
    """Return the names of a lesson's exercises, in its order."""
    tags = [tag for cell in cells(lesson) for tag in cell["metadata"].get("tags", [])]
    return [tag.removeprefix("exercise:") for tag in tags if tag.startswith("exercise:")]


def blank(lesson: str, name: str) -> str:
    """Return what stands in the exercise's cell, without the call of its check."""
    return tagged(lesson, f"exercise:{name}").rpartition("practice.check(")[0]


def solution(lesson: str, name: str) -> str:
    (block,) = re.findall(r"```python\n(.*?)```", tagged(lesson, f"solution:{name}"), re.S)
    return block


def answer(lesson: str, name: str, source: str):
    """Run an answer behind the lesson's own imports and return what the lesson hands to the check."""
    (setup,) = [cell for cell in cells(lesson) if cell["id"] == "setup"]
    lines = [node for node in ast.parse("".join(setup["source"])).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {"__name__": "__main__"}
    exec(compile(ast.Module(lines, []), "setup", "exec"), names)
    exec(source, names)
    return names[re.search(r"practice\.check\(\"\w+\", (\w+)\)", tagged(lesson, f"exercise:{name}"))[1]]


def solved(lesson: str, name: str):
    """Return what the folded solution defines."""
    return answer(lesson, name, solution(lesson, name))


def checked(lesson: str, name: str, source: str):
    """Return the check's verdict on an answer."""
    return practice.check(name, answer(lesson, name, source))


def replaced(lesson: str, name: str, old: str, new: str) -> str:
    """Return the solution with one thing in it made wrong."""
    right = solution(lesson, name)
    assert old in right, f"{name} has no {old!r} to make wrong"
    return right.replace(old, new)
