"""Lesson 01's exercises: typical wrong answers are told apart, other right ones accepted."""

from math import prod

import folded
import numpy as np
import pytest
import torch

import featlab as fl
from featlab import practice

LESSON = "01_tensors_and_numpy"
kernel = folded.kernel(LESSON)
NAMES = ["offset_of", "strides_of", "to_model_input", "shares", "window"]


# ---- typical wrong answers: exercise -> {what the learner wrote: (answer, a word of the message)}


def in_place(array):
    x = array.copy() if not array.flags.writeable or array.dtype == np.uint8 else array
    if array.dtype == np.uint8:
        return torch.tensor(x / 255, dtype=torch.float32)[None, None]
    x *= 0.5
    return torch.tensor(x.copy() * 2, dtype=torch.float32)[None, None]


def scaled_by(x, array):
    return (x / 255 if array.dtype == np.uint8 else x)[None, None]


def from_numpy_float(array):
    """Cast and hope for a copy: with a float32 array there is nothing to cast."""
    copied = array if array.dtype == np.float32 else array.copy()
    return scaled_by(torch.from_numpy(copied).float(), array)


def forgets(*args):
    args = args[0]  # some work, and no return


def same_values(a, b):
    return a.numel() == b.numel() and torch.equal(a.ravel().sort().values, b.ravel().sort().values)


def writes(a, b):
    with torch.no_grad():
        a.view(-1)[0] += 0
    return folded.solved(LESSON, "shares")(a, b)


def scaled(array, dtype=torch.float32):
    x = torch.tensor(array.copy(), dtype=dtype)
    return x / 255 if array.dtype == np.uint8 else x


WRONG = {
    "offset_of": {
        "start left out": (lambda i, s, start: sum(a * b for a, b in zip(i, s, strict=True)), "add `start`"),
        "strides reversed": (
            lambda i, s, start: start + sum(a * b for a, b in zip(i, s[::-1], strict=True)),
            "own axis",
        ),
        "bytes": (lambda i, s, start: 8 * (start + sum(a * b for a, b in zip(i, s, strict=True))), "count bytes"),
        "indices added": (lambda i, s, start: start + sum(i), "multiply each index"),
        "two axes only": (lambda i, s, start: start + i[0] * s[0] + i[-1] * s[-1] * (len(i) > 1), "adds two"),
        "first two axes": (
            lambda i, s, start: start + sum(a * b for a, b in list(zip(i, s, strict=True))[:2]),
            "adds two",
        ),
        "forgets return": (forgets, "`return` missing"),
        "a list": (lambda i, s, start: [a * b for a, b in zip(i, s, strict=True)], "whole number"),
        "no axes": (lambda i, s, start: folded.solved(LESSON, "offset_of")(i, s, start) if i else 0, "without axes"),
    },
    "strides_of": {
        "column by column": (lambda shape: tuple(prod(shape[:k]) for k in range(len(shape))), "order='F'"),
        "reversed": (lambda shape: torch.empty(shape).stride()[::-1], "opposite order|order='F'"),
        "own length counted": (lambda shape: tuple(prod(shape[k:]) for k in range(len(shape))), "own length"),
        "bytes": (lambda shape: np.empty(shape).strides, "counts bytes"),
        "only neighbours": (lambda shape: (*shape[1:], 1), "It fits two axes"),
        "last axis forgotten": (lambda shape: torch.empty(shape).stride()[:-1], "strides, one each"),
        "the shape": (lambda shape: shape, "Start at the last axis"),
        "forgets return": (forgets, "`return` missing"),
    },
    "to_model_input": {
        "as it comes": (lambda array: torch.tensor(array.copy())[None, None], "refuse others"),
        "no axes": (lambda array: scaled(array), "(N, C, H, W)"),
        "one axis": (lambda array: scaled(array)[None], "(N, C, H, W)"),
        "not scaled": (
            lambda array: torch.tensor(array.copy(), dtype=torch.float32)[None, None],
            "uint8 counts to 255",
        ),
        "divides what is above 1": (
            lambda array: torch.tensor(array / (255 if array.max() > 1 else 1), dtype=torch.float32)[None, None],
            "the largest value does not",
        ),
        "all scaled": (lambda array: torch.tensor(array / 255, dtype=torch.float32)[None, None], "divide only what"),
        "float() shares": (from_numpy_float, "still shares"),
        "from_numpy": (lambda array: torch.from_numpy(array)[None, None].float() / 255, "divide only|still shares"),
        "cast after dividing": (
            lambda array: torch.tensor(array // 255, dtype=torch.float32)[None, None],
            "whole numbers",
        ),
        "writes into the array": (in_place, "wrote into the array"),
        "requires grad": (lambda array: scaled(array)[None, None].requires_grad_(), "not learned"),
        "an array": (lambda array: array.astype(np.float32)[None, None], "a tensor is asked"),
        "negative strides": (lambda array: scaled_by(torch.from_numpy(array).float().clone(), array), "negative"),
    },
    "shares": {
        "is": (lambda a, b: a is b, "compare where the storages lie"),
        "id": (lambda a, b: id(a) == id(b), "compare where the storages lie"),
        "values": (same_values, "compare places"),
        "data_ptr": (lambda a, b: a.data_ptr() == b.data_ptr(), "may start later"),
        "always": (lambda a, b: True, "compare places"),
        "storage is storage": (lambda a, b: a.untyped_storage() is b.untyped_storage(), "another Python object"),
        "numpy's shares_memory": (
            lambda a, b: np.shares_memory(a.detach().numpy(), b.detach().numpy()),
            "lie in one storage",
        ),
        "numpy refuses weights": (
            lambda a, b: np.may_share_memory(a.numpy(), b.numpy()),
            "lie in one storage|requires grad",
        ),
        "writes": (writes, "without a write"),
        "elementwise": (lambda a, b: a.ravel() == b.ravel()[: a.numel()], "True or False"),
        "forgets return": (forgets, "`return` missing"),
    },
    "window": {
        "too many": (lambda t, size: torch.stack([t.roll(-i)[:size] for i in range(len(t))]), "past the end"),
        "side by side": (lambda t, size: t[: len(t) // size * size].reshape(-1, size), "windows overlap"),
        "turned": (lambda t, size: t.unfold(0, size, 1).T, "One window a row"),
        "one too few": (lambda t, size: t.unfold(0, size, 1)[:-1], "leaves room"),
        "stride 1": (lambda t, size: t.as_strided((len(t) - size + 1, size), (1, 1)), "ask t for its stride"),
        "cell 0": (lambda t, size: t.as_strided((len(t) - size + 1, size), (t.stride(0),) * 2, 0), "begins at cell"),
        "copies": (lambda t, size: torch.stack([t[i : i + size] for i in range(len(t) - size + 1)]), "in a copy"),
        "a list": (lambda t, size: [t[i : i + size] for i in range(len(t) - size + 1)], "a tensor is asked"),
    },
}


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in WRONG for kind in WRONG[name]])
def test_a_typical_wrong_answer_is_not_accepted_and_told_why(name, kind):
    answer, word = WRONG[name][kind]
    verdict = practice.check(name, answer)
    assert verdict.status == "not yet", verdict
    assert any(part in verdict.message for part in word.split("|")), verdict.message


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.parametrize("name", NAMES)
def test_wrong_answers_get_messages_of_their_own(name):
    messages = {kind: practice.check(name, answer).message for kind, (answer, _) in WRONG[name].items()}
    assert len(set(messages.values())) >= 5, messages


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("strides_of", lambda shape: list(torch.empty(shape).stride())),
        ("strides_of", lambda shape: torch.empty(shape).stride()),
        ("to_model_input", lambda array: scaled(array).reshape(1, 1, *array.shape)),
        (
            "to_model_input",
            lambda array: torch.tensor((array / (255 if array.dtype == np.uint8 else 1))[None, None]).float(),
        ),
        ("shares", lambda a, b: fl.storages(a=a, b=b).shares("a", "b")),
        ("shares", lambda a, b: torch.tensor(folded.solved(LESSON, "shares")(a, b))),
        ("window", lambda t, size: t.unfold(0, size, 1)),
        (
            "window",
            lambda t, size: torch.from_numpy(np.lib.stride_tricks.sliding_window_view(t.numpy(), size, writeable=True)),
        ),
        ("offset_of", lambda *given: torch.tensor(folded.solved(LESSON, "offset_of")(*given))),
    ],
)
def test_other_right_ways_are_accepted(name, answer):
    verdict = practice.check(name, answer)
    assert verdict, verdict.message


def test_shares_tells_of_storages_that_overlap_to_those_who_do_not_see_them():
    assert "is beyond it" in practice.check("shares", folded.solved(LESSON, "shares")).message
    assert "overlap" in practice.check("shares", lambda a, b: fl.storages(a=a, b=b).shares("a", "b")).message
