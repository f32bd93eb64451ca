"""The table of claims quotes the stored runs, and a workshop's learners get no solution."""

import claims
import lint
import pytest
import workshops
from files import LESSONS, LessonFailed
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_output
from scratch_lessons import cell, prose, scratch_lesson

import featlab as fl
import notebooks

LISTED = {"scratch": {"S1": {"claim": "`sorted` works_in place | always", "verdict": "false"}}}


def lesson_that_prints(text: str) -> NotebookNode:
    nb = scratch_lesson()
    nb.cells[0].source = "# 09 · Scratch: what is shared?\n\nWords."
    cell(nb, "sorted").outputs = [new_output("stream", name="stdout", text=text)]
    return nb


def stored(nb: NotebookNode, folder) -> None:
    (folder / "scratch.ipynb").write_text(notebooks.dumps(nb), encoding="utf-8")


def row(nb: NotebookNode, folder) -> str:
    stored(nb, folder)
    return next(line for line in claims.table(LISTED, folder).splitlines() if line.startswith("| S1"))


# ---- claims


def test_the_table_quotes_what_the_claim_s_cell_printed_and_links_the_lesson(tmp_path):
    nb = lesson_that_prints("4 numbers\nS1, sorted works in place: false.\nIt returns a list.\n")
    said = "sorted works in place: false. It returns a list."
    assert row(nb, tmp_path) == rf"| S1 | \`sorted\` works\_in place \| always | **false** | {said} |  |"
    assert "## [09 · Scratch](scratch.ipynb)" in claims.table(LISTED, tmp_path)


def test_a_claim_about_a_device_that_is_not_there_has_no_verdict(tmp_path):
    assert "| not run here |" in row(lesson_that_prints("S1: NOT RUN on a GPU.\n"), tmp_path)


def test_the_calls_that_name_a_claim_stand_beside_it_and_name_no_other():
    listed = {name for lesson in lint.read_claims().values() for name in lesson}
    explained = claims.calls()
    assert set(explained) <= listed
    assert explained["H6"] == ["fl.capture"] and explained["G2"] == ["fl.graphs.draw"]
    assert "Claims: H5, H6" in fl.capture.__doc__


@pytest.mark.parametrize("printed", ["", "S1, it is true.\n", "false\n", "S11, it is false.\n", "S1, falsely.\n"])
def test_a_cell_that_does_not_print_its_verdict_is_named(printed):
    said = claims.fault(cell(lesson_that_prints(printed), "sorted"), "S1", "false")
    assert said == "cell 'sorted' prints no line 'S1, …: false', the verdict in tests/claims.toml"


@pytest.mark.parametrize("printed", ["S1, it is: false.\n", "so\nS1: false\n", "S1: NOT RUN on a GPU\n"])
def test_a_cell_that_prints_its_verdict_is_in_order(printed):
    assert claims.fault(cell(lesson_that_prints(printed), "sorted"), "S1", "false") is None


# ---- the workshop's copies


def test_learners_get_the_lesson_without_solutions_and_outputs():
    nb = scratch_lesson()
    cell(nb, "double").outputs = [new_output("stream", name="stdout", text="[2, 4]")]
    learners = workshops.without_solutions(nb)
    assert [c.id for c in learners.cells] == [c.id for c in nb.cells if c.id != "double-solution"]
    assert not any(c.outputs for c in notebooks.code_cells(learners))
    assert list(workshops.leaks(learners, workshops.solutions(nb))) == []


def test_instructors_get_every_solution_unfolded_and_in_a_cell_that_checks_it():
    nb = workshops.with_solutions(scratch_lesson())
    assert "<details open>" in cell(nb, "double-solution").source
    assert cell(nb, "double-solution-run").source.splitlines() == [
        "double = [2 * n for n in numbers]",
        "",
        'practice.check("double", double)',
    ]


LONG = {"third": "total = 0\nfor n in numbers:\n    total += n\nprint(total)"}


@pytest.mark.parametrize(
    "left",
    [
        prose("told", "A hint:\n\n```python\nfor n in numbers:\n\n    total += n\nprint(total)\n```"),
        prose("folded", "<details><summary>solution</summary>Three.</details>"),
        prose("tagged", "Three.", "solution:third"),
    ],
    ids=lambda cell: cell.id,
)
def test_a_solution_that_is_left_is_found(left):
    nb = scratch_lesson()
    nb.cells.append(left)
    assert any(f"'{left.id}' of the learners' copy" in said for said in workshops.leaks(nb, LONG))


@pytest.mark.parametrize("path", sorted(LESSONS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_no_lesson_gives_a_solution_away(path):
    nb = notebooks.read(path)
    assert list(workshops.leaks(workshops.without_solutions(nb), workshops.solutions(nb))) == []


def test_lines_that_an_exercise_starts_with_give_nothing_away_but_the_whole_does():
    nb = workshops.without_solutions(scratch_lesson())
    start = new_code_cell("total = 0\nfor n in numbers:\n    total = n\nprint(total)", id="start")
    start.metadata["tags"] = ["exercise:third"]
    nb.cells.append(start)
    assert list(workshops.leaks(nb, LONG)) == []
    start.source = LONG["third"]
    assert list(workshops.leaks(nb, LONG)) == ["cell 'start' of the learners' copy gives away the solution of third"]


def test_a_leak_stops_the_writing(tmp_path):
    nb = scratch_lesson()
    nb.cells.append(prose("folded", "<details><summary>Solution</summary>Three.</details>"))
    stored(nb, tmp_path)
    with pytest.raises(LessonFailed, match="'folded' of the learners' copy is a solution"):
        workshops.write(tmp_path / "scratch.ipynb", tmp_path / "workshop")
    assert not (tmp_path / "workshop").exists()


def test_both_copies_are_written_and_the_instructors_ran(tmp_path):
    stored(scratch_lesson(), tmp_path)
    assert "1 solutions taken out" in workshops.write(tmp_path / "scratch.ipynb", tmp_path)
    learners, instructors = (notebooks.read(tmp_path / who / "scratch.ipynb") for who in ("learners", "instructors"))
    assert all(c.execution_count is None for c in notebooks.code_cells(learners))
    assert cell(instructors, "double-solution-run").execution_count
