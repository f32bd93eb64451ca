"""A check's verdict on what learners write: blank, right, wrong, raising, and careless with global state."""

import functools
import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from featlab import exercises
from featlab.exercises import Wrong, exercise
from featlab.verdicts import describe, judge


def in_a_cell(source: str):
    """Return `answer` from a source run as a notebook runs a cell, in a module called __main__."""
    import linecache

    lines = source.splitlines(keepends=True)
    linecache.cache["<cell>"] = (len(source), None, lines, "<cell>")
    names = {"__name__": "__main__", "torch": torch}
    exec(compile(source, "<cell>", "exec"), names)
    return names["answer"]


def transposes(answer):
    """Ask for the transpose of a matrix."""
    matrix = torch.arange(6.0).reshape(2, 3)
    given = answer(matrix)
    if not torch.equal(given, matrix.T):
        raise Wrong(f"Yours is {describe(given)}.\nThe transpose has shape (3, 2). Try `.T`.")
    return "It holds for `numpy` too."


def verdict(answer, check=transposes):
    return judge("transposes", check, answer)


@pytest.mark.parametrize("blank", [..., [..., ...], (...,), {"a": ..., "b": ...}, lambda m: ..., lambda m: (..., ...)])
def test_a_blank_is_not_tried_yet(blank):
    assert repr(verdict(blank)) == "○ not tried yet: transposes"
    assert not verdict(blank)


def test_a_blank_inside_a_call_is_not_tried_yet():
    answer = in_a_cell("def answer(m):\n    size = ...\n    return m.reshape(size)\n")
    assert repr(verdict(answer)) == "○ not tried yet: transposes\nA ... is still in it."


def test_a_body_of_three_dots_is_not_tried_yet():
    documented = 'def answer(m):\n    """Transpose."""\n    ...\n'
    for source in ("def answer(m): ...\n", "def answer(m):\n    # here\n    ...\n", documented):
        assert verdict(in_a_cell(source)).status == "not tried yet"


def test_a_forgotten_return_is_a_try_also_where_the_check_did_not_expect_it():
    forgot = verdict(in_a_cell("def answer(m):\n    m.T\n"))
    assert repr(forgot).splitlines()[1:] == ["Your function returned None. Is a return missing?"]


def test_a_class_with_three_dots_is_not_tried_yet():
    def runs(answer):
        return torch.equal(answer()(torch.ones(1)), torch.ones(1))

    source = "class answer(torch.nn.Module):\n    def forward(self, x):\n        return ...\n"
    assert verdict(in_a_cell(source), runs).status == "not tried yet"


def test_an_answer_partly_filled_in_reaches_the_check():
    def both_named(answer):
        if answer["b"] is ...:
            raise Wrong("b is missing.")

    assert verdict({"a": 1, "b": ...}, both_named).status == "not yet"


def test_a_right_answer_is_solved_and_may_be_praised():
    assert repr(verdict(lambda m: m.T)) == "✓ solved: transposes\nIt holds for numpy too."
    assert verdict(lambda m: m.T)


def test_a_wrong_answer_is_taught():
    assert repr(verdict(lambda m: m)) == (
        "✗ not yet: transposes\n"
        "Yours is a float32 tensor of shape (2, 3), strides (3, 1).\n"
        "The transpose has shape (3, 2). Try .T."
    )
    assert "<code>.T</code>" in verdict(lambda m: m)._repr_html_()


def test_the_learners_exception_is_shown_with_its_line_and_what_was_given():
    answer = in_a_cell("def answer(m):\n    rows = len(m)\n    return m.transposed(rows)\n")
    assert repr(verdict(answer)) == (
        "✗ not yet: transposes\n"
        "Your code raised AttributeError: 'Tensor' object has no attribute 'transposed'\n"
        "It happened in line 3: return m.transposed(rows)\n"
        "It had been given a float32 tensor of shape (2, 3), strides (3, 1)."
    )


def test_the_line_is_the_learners_also_when_torch_raised_below_it():
    answer = in_a_cell("def answer(m):\n    return torch.einsum('ij->ji->', m)\n")
    assert "It happened in line 2: return torch.einsum('ij->ji->', m)" in repr(verdict(answer))


def test_endless_recursion_is_the_learners_exception():
    answer = in_a_cell("def answer(m):\n    return answer(m.T)\n")
    assert "Your code raised RecursionError" in repr(verdict(answer))


def test_a_builtin_or_partial_that_raises_is_the_learners_exception():
    assert "Your code raised TypeError" in repr(verdict(torch.transpose))
    assert "Your code raised" in repr(verdict(functools.partial(torch.transpose, dim0=7, dim1=8)))


def test_a_class_or_module_reaches_the_check_as_it_is():
    def is_module(answer):
        if not isinstance(answer, nn.Module) and not issubclass(answer, nn.Module):
            raise Wrong("no module")
        (answer if isinstance(answer, nn.Module) else answer())(torch.ones(1))

    assert verdict(nn.Identity(), is_module)
    assert verdict(nn.Identity, is_module)
    broken = in_a_cell("class answer(torch.nn.Module):\n    def forward(self, x):\n        return x.nothing\n")
    assert "It happened in line 3: return x.nothing" in repr(verdict(broken, is_module))


def test_a_fault_in_the_check_is_raised_not_blamed_on_the_learner():
    def faulty(answer):
        answer(torch.zeros(1))
        raise KeyError("the check's own")

    with pytest.raises(KeyError, match="the check's own"):
        verdict(in_a_cell("def answer(m):\n    return m\n"), faulty)
    with pytest.raises(KeyError):
        verdict(3, lambda answer: {}["x"])


def test_a_check_may_ask_for_an_exception():
    def must_refuse(answer):
        try:
            answer(torch.zeros(0))
        except ValueError:
            return
        raise Wrong("An empty tensor went through.")

    assert verdict(in_a_cell("def answer(m):\n    raise ValueError('empty')\n"), must_refuse)
    assert not verdict(lambda m: m, must_refuse)
    assert verdict(lambda m: ..., must_refuse).status == "not tried yet"


def test_an_interrupt_goes_through_and_the_state_is_put_back():
    def answer(m):
        torch.set_grad_enabled(False)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verdict(answer)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("fails", [False, True])
def test_what_the_answer_moves_is_put_back(fails):
    def answer(m):
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002
        random.seed(1)
        warnings.simplefilter("error")
        return m if fails else m.T

    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    filters = list(warnings.filters)
    assert bool(verdict(answer)) is not fails
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32
    assert torch.get_default_device() == torch.device("cpu")
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state[1])  # noqa: NPY002
    assert random.getstate() == python_state
    assert warnings.filters == filters


def test_a_check_runs_with_grad_mode_on_whatever_the_lesson_left():
    def records(answer):
        if not answer(torch.ones(1, requires_grad=True)).requires_grad:
            raise Wrong("It does not record.")

    with torch.no_grad():
        assert verdict(lambda m: m * 2, records)
        assert not torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.zeros(2, 3).T, "a float32 tensor of shape (3, 2), strides (1, 3)"),
        (torch.zeros((), requires_grad=True), "a float32 tensor of shape (), strides (), requires grad"),
        (torch.eye(2).to_sparse(), "a float32 tensor of shape (2, 2)"),
        (np.zeros((2, 3), dtype=np.int16).T, "an int16 array of shape (3, 2), strides (2, 6) bytes"),
        (nn.Linear(1, 1), "a Linear"),
        (nn.Identity(), "an Identity"),
        (torch.add, "add"),
        ([torch.zeros(2), 3], "a list of 2: a float32 tensor of shape (2,), strides (1,), 3"),
        ((1, 2), "(1, 2)"),
        ("x" * 100, "'" + "x" * 76 + "..."),
    ],
)
def test_values_are_described_in_a_few_words(value, words):
    assert describe(value) == words


def test_two_exercises_of_one_name_are_refused(monkeypatch):
    monkeypatch.setattr(exercises, "_known", {})

    def check(answer): ...

    exercise("01_a")(check)
    exercise("01_a")(check)  # the same one again, as when its module is reloaded
    other = functools.wraps(check)(lambda answer: None)
    other.__module__ = "elsewhere"
    with pytest.raises(ValueError, match="Two exercises are called 'check': in test_verdicts and elsewhere"):
        exercise("02_b")(other)


def test_every_exercise_belongs_to_a_lesson_and_is_found_by_name():
    for found in [exercises.find(name) for name in exercises._load()]:
        assert found in exercises.of_lesson(found.lesson)
