"""Every lesson's exercises: folded solutions are accepted, blanks are not tried yet, hints come in steps."""

import re

import folded
import pytest
import torch

from featlab import exercises, practice

STEMS = sorted(path.stem for path in folded.LESSONS.glob("*.ipynb"))
NAMED = [(stem, name) for stem in STEMS for name in folded.exercises_of(stem)]
LESSONS = sorted({lesson for lesson, _ in NAMED})
each = pytest.mark.parametrize(("lesson", "name"), NAMED, ids=[f"{lesson[:2]}-{name}" for lesson, name in NAMED])


@pytest.fixture(autouse=True)
def kernel(monkeypatch, tmp_path, request):
    monkeypatch.setattr(practice, "_lessons", {})
    monkeypatch.chdir(tmp_path)
    practice.begin(request.getfixturevalue("lesson"))


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lesson_has_a_check_for_each_of_its_exercises_and_no_other(lesson):
    assert sorted(folded.exercises_of(lesson)) == sorted(exercise.name for exercise in exercises.of_lesson(lesson))


@each
def test_the_folded_solution_is_accepted_twice_in_a_row_and_moves_no_generator(lesson, name):
    before = torch.get_rng_state()
    for _ in range(2):
        verdict = folded.checked(lesson, name, folded.solution(lesson, name))
        assert verdict, verdict.message
        assert verdict.message
    assert torch.equal(torch.get_rng_state(), before)


@each
def test_what_the_lesson_starts_with_is_not_accepted(lesson, name):
    verdict = folded.checked(lesson, name, folded.blank(lesson, name))
    # a patient of the clinic comes with code: it is judged, and told its symptom
    assert verdict.status == ("not yet" if lesson == "08_clinic" else "not tried yet")


@each
def test_an_exercise_has_difficulty_minutes_hints_in_steps_and_a_solution(lesson, name):
    cells = folded.cells(lesson)
    at = next(i for i, c in enumerate(cells) if f"exercise:{name}" in c["metadata"].get("tags", []))
    task = "".join(cells[at - 1]["source"])
    assert re.search(r"[●○]{3} · \d+ minutes", task)
    assert task.count("<details>") >= 2
    assert f"solution:{name}" in cells[at + 1]["metadata"]["tags"]
    assert "<details><summary>Solution</summary>" in "".join(cells[at + 1]["source"])
