"""A lesson's calls in the order a learner meets them: begin, predict, compare, check, summary, end."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from featlab import exercises, practice
from featlab.exercises import Wrong, exercise

LESSON = "01_tensors_and_numpy"


@pytest.fixture(autouse=True)
def kernel(monkeypatch, tmp_path):
    """A kernel in which no lesson has begun, in an empty folder."""
    monkeypatch.setattr(practice, "_lessons", {})
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def lesson():
    practice.begin(LESSON)


@pytest.fixture
def kept(tmp_path) -> Path:
    """The file that keeps the record, where its folder exists."""
    (tmp_path / ".featlab").mkdir()
    return tmp_path / ".featlab" / f"{LESSON}.json"


@pytest.fixture
def doubling(monkeypatch):
    """An exercise of this lesson, known for one test."""
    monkeypatch.setattr(exercises, "_known", {})
    monkeypatch.setattr(exercises, "__path__", [])

    @exercise(LESSON)
    def double(answer):
        given = torch.tensor([1.0, 2.0])
        if not torch.equal(answer(given), given * 2):
            raise Wrong("The values are not doubled. Try `*`.")


def restart() -> None:
    practice._lessons.clear()
    practice.begin(LESSON)


def ask(**typed):
    return practice.predict("w", "What does `t[0]` hold?", {1.0: "still 1", 9.0: "9 as well"}, **typed)


# predictions


@pytest.mark.parametrize("blank", [..., None, "", " "])
def test_a_blank_leaves_the_question_open(lesson, blank):
    assert ask(mine=blank).state == practice.predict("n", "How many?", mine=blank).state == "open"


def test_a_locked_prediction_shows_itself_again_and_refuses_another(lesson):
    ask(mine="a")
    assert repr(ask()).endswith("Locked: a) still 1")
    assert "b) 9 as well came too late" in repr(ask(mine="b"))
    assert "too late" not in repr(ask())


def test_a_cell_run_twice_in_a_row_shows_the_same(lesson):
    for typed in ({}, {"mine": "b"}):
        assert repr(ask(**typed)) == repr(ask(**typed))
    assert repr(practice.compare("w", 9.0)) == repr(practice.compare("w", 9.0))


def test_a_prediction_typed_after_the_result_is_refused(lesson):
    ask()
    assert practice.compare("w", 9.0).right is None
    assert "The result is known" in repr(ask(mine="b"))


def test_a_number_has_a_unit_and_a_tolerance(lesson):
    practice.predict("n", "How many are right?", mine=20, unit="%", within=5)
    assert repr(practice.compare("n", 21.4)).endswith("✓ right, off by 1.4 % (within 5 % counts as right)")


def test_a_question_reworded_by_its_author_is_a_new_one(lesson):
    ask(mine="a")
    assert practice.predict("w", "What does `t[0]` hold?", {1.0: "1, still", 9.0: "9"}).state == "open"


def test_too_few_or_too_many_options_are_the_authors_error(lesson):
    for options in ({}, {1: "one"}, {n: str(n) for n in range(10)}):
        with pytest.raises(ValueError, match=f"'w' has {len(options)} options; it needs 2 to 9"):
            practice.predict("w", "Which?", options)


def test_comparing_what_was_not_asked_says_what_was(lesson):
    ask()
    with pytest.raises(LookupError, match="No prediction is called 'v'; run its cell first. Asked so far: w."):
        practice.compare("v", 1)


def test_before_the_setup_cell_each_call_says_which_cell_to_run():
    for call in (ask, practice.end, lambda: practice.compare("w", 1)):
        with pytest.raises(RuntimeError, match="run the setup cell"):
            call()


# checks and the record


def test_a_check_is_counted_for_its_lesson(lesson, doubling):
    assert practice.check("double", lambda t: ...).status == "not tried yet"
    assert repr(practice.summary()) == f"{LESSON}  predictions 0 made, 0 right · exercises 0 of 1 solved"
    assert not practice.check("double", lambda t: t)
    assert repr(practice.summary()).endswith("exercises 0 of 1 solved, 1 more tried")
    assert practice.check("double", lambda t: t * 2)
    assert not practice.check("double", lambda t: t)
    assert repr(practice.summary()).endswith("exercises 1 of 1 solved")


def test_an_unknown_exercise_names_near_ones(lesson, doubling):
    with pytest.raises(LookupError, match="no exercise 'doubel'. Near: double"):
        practice.check("doubel", ...)


def test_the_summary_counts_predictions_made_and_right(lesson, doubling):
    ask(mine="b")
    practice.predict("n", "How many?")
    practice.predict("x", "Yes?", {True: "yes", False: "no"}, mine="a")
    for name, outcome in (("w", 9.0), ("n", 3), ("x", False)):
        practice.compare(name, outcome)
    assert "predictions 2 made, 1 right" in repr(practice.summary())


def test_no_lesson_no_lines():
    assert repr(practice.summary()) == "No lesson has begun yet."


def test_the_record_survives_a_restart_and_the_summary_holds_all_lessons(kept, doubling):
    practice.begin("02_autograd")
    practice.predict("g", "Yes?", {True: "yes", False: "no"}, mine="a")
    restart()
    ask(mine="b")
    practice.compare("w", 9.0)
    practice.check("double", lambda t: t * 2)
    restart()
    assert repr(practice.summary()).splitlines() == [
        f"{LESSON}  predictions 1 made, 1 right · exercises 1 of 1 solved",
        "02_autograd           predictions 1 made, 0 right",
    ]


def test_a_broken_record_is_told_of_and_the_lesson_goes_on(kept, doubling, capsys):
    kept.write_text("{", encoding="utf8")
    restart()
    told = capsys.readouterr().out.strip()
    assert told.startswith(f"The record {kept.name} could not be understood.")
    assert ask(mine="b").state == "locked"
    assert repr(practice.summary()).splitlines()[1:] == [told]


# begin and end


def small_model() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout())


def changed_rows() -> dict[str, str]:
    return {row["what"]: row["now"] for row in practice.end() if row["now"] != "as found"}


def test_a_lesson_that_moved_nothing_ends_as_found():
    model = small_model()
    practice.begin(LESSON, model)
    closing = practice.end()
    assert closing.as_found
    assert len(closing) >= 13
    assert "as found" in repr(closing)
    assert "as found" in closing._repr_html_()


def test_the_closing_table_names_what_a_model_lost():
    model = small_model()
    practice.begin(LESSON, model)
    model(torch.ones(4, 2))
    model[2].eval()
    model[0].bias.requires_grad_(False)
    model[0].register_forward_hook(lambda *_: None)
    with torch.no_grad():
        model[0].weight += 1
    closing = practice.end()
    assert not closing.as_found
    rows = changed_rows()
    assert rows["Sequential: modes"] == "changed: 2"
    assert rows["Sequential: requires_grad"] == "changed: 0.bias"
    assert rows["Sequential: hooks"] == "changed: 0"
    assert rows["Sequential: parameters"] == "changed: 0.weight"
    assert rows["Sequential: buffers"] == "changed: 1.running_mean, 1.running_var, 1.num_batches_tracked"
    assert rows["RNG of torch"] == "changed"  # the dropout drew from it


def test_the_closing_table_names_what_the_process_lost():
    practice.begin(LESSON)
    try:
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        torch.set_warn_always(True)
        torch.set_deterministic_debug_mode("warn")
        torch.set_default_device("meta")
        random.random()
        np.random.rand()  # noqa: NPY002
        rows = changed_rows()
    finally:
        torch.set_default_device(None)
        torch.set_deterministic_debug_mode("default")
        torch.set_warn_always(False)
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)
    assert rows == {
        "grad mode": "changed: True → False",
        "default dtype": "changed: torch.float32 → torch.float64",
        "default device": "changed: cpu → meta",
        "warn_always": "changed: False → True",
        "deterministic mode": "changed: default → warn",
        "RNG of NumPy": "changed",
        "RNG of Python": "changed",
    }


def test_nan_in_a_buffer_is_as_found():
    model = small_model()
    model[1].running_mean.fill_(float("nan"))
    practice.begin(LESSON, model)
    assert practice.end().as_found


def test_a_submodule_that_came_or_went_is_named():
    model = small_model()
    practice.begin(LESSON, model)
    model.append(nn.BatchNorm1d(2))
    del model[1]
    rows = changed_rows()
    assert rows["Sequential: buffers"].startswith("changed: 1.running_mean, 1.running_var")
    assert rows["Sequential: buffers"].endswith("and 3 more")


def test_beginning_again_keeps_what_was_found_first():
    model = small_model()
    practice.begin(LESSON, model)
    model.eval()
    with torch.no_grad():
        practice.begin(LESSON, model)
        assert changed_rows().keys() == {"Sequential: modes", "grad mode"}


def test_a_setup_cell_that_draws_may_run_again():
    for _ in range(2):
        practice.begin(LESSON, small_model())
    assert practice.end().as_found


def test_beginning_again_with_a_new_model_takes_it_as_it_is():
    practice.begin(LESSON, small_model())
    other = small_model().eval()
    practice.begin(LESSON, other, nn.Identity())
    assert not changed_rows()
    assert any(row["what"] == "Identity (model 2): modes" for row in practice.end())


def test_beginning_again_keeps_locked_predictions(lesson):
    ask(mine="b")
    practice.begin(LESSON)
    assert ask().state == "locked"


def test_beginning_moves_nothing():
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    practice.begin(LESSON, nn.Identity())
    practice.end()
    assert torch.equal(torch.rand(3), expected)


def test_a_lesson_name_is_a_file_name():
    with pytest.raises(ValueError, match="such as '01_tensors_and_numpy'"):
        practice.begin("../01")
