"""Checks of lesson 01: where an element lives, strides, a model's input, shared storage, sliding windows."""

from itertools import combinations
from math import prod

import numpy as np
import torch
from torch import Tensor

from featlab.exercises import Wrong, describe, exercise

LESSON = "01_tensors_and_numpy"


# ---- offset_of


@exercise(LESSON)
def offset_of(answer) -> str:
    """Compare with what a real view reads from a storage that holds its own cell numbers."""
    cells = torch.arange(90)
    views = [cells[:15].view(3, 5), cells[7:37].view(5, 6), cells[2:62].view(3, 4, 5)[:, 1::2, 1:], cells[:35:3]]
    views += [cells[:48].view(6, 8).T[1:, ::2], cells[2:5].view(3, 1).expand(3, 4), cells[:81].view(3, 3, 3, 3).mT]
    for view in views:
        index = tuple(size - 1 - axis % 2 * (size > 2) for axis, size in enumerate(view.shape))
        strides, start = view.stride(), view.storage_offset()
        given, true = f"offset_of({index}, {strides}, {start})", int(view[index])
        got = _whole_number(answer(index, strides, start), given)
        if got != true:
            raise Wrong(f"{given} gave {got}; this element sits in cell {true}. {_why_not_offset(got, index, view)}")
    if (got := _whole_number(answer((), (), 12), "offset_of((), (), 12)")) != 12:
        raise Wrong(f"A tensor without axes has one element, where it starts: cell 12, not {got}.")
    return "The same cells as in seven real views, of up to four axes; one steps by stride 0."


def _why_not_offset(got: int, index: tuple, view: Tensor) -> str:
    strides, start = view.stride(), view.storage_offset()
    steps = [i * step for i, step in zip(index, strides, strict=True)]
    if got == sum(steps):
        return f"The tensor does not begin in cell 0: add `start`, {start}."
    if got == start + sum(i * step for i, step in zip(index, strides[::-1], strict=True)):
        return "Each index goes with the stride of its own axis; yours met in the opposite order."
    if got == (start + sum(steps)) * view.element_size() or got == start + sum(steps) * view.element_size():
        return "torch's strides count elements. NumPy's count bytes; nothing is to be multiplied by the element's size."
    if got == start + sum(index) or got == start + prod(index):
        return "A step along an axis passes as many cells as its stride says: multiply each index by its stride."
    if len(index) > 2 and got - start in map(sum, combinations(steps, 2)):
        return f"This tensor has {len(index)} axes, and yours adds two of them."
    return f"By hand: {start} + " + " + ".join(f"{i}·{step}" for i, step in zip(index, strides, strict=True)) + "."


def _whole_number(got, given: str) -> int:
    if isinstance(got, Tensor | np.ndarray | np.generic) and np.ndim(got) == 0:
        got = got.item()
    if isinstance(got, bool) or not isinstance(got, int | float) or got != int(got):
        missing = " Is a `return` missing?" if got is None else ""
        raise Wrong(f"{given} gave {describe(got)}; a cell has a whole number.{missing}")
    return int(got)


# ---- strides_of


@exercise(LESSON)
def strides_of(answer) -> str:
    """Compare with the strides that torch gives to a new tensor."""
    for shape in [(3, 5), (2, 3, 4), (7,), (4, 1, 3), (5, 2, 1, 6), (1, 1), ()]:
        true, given = torch.empty(shape, device="meta").stride(), f"strides_of({shape})"
        got = answer(shape)
        if not isinstance(got, tuple | list):
            missing = " Is a `return` missing?" if got is None else ""
            raise Wrong(f"{given} gave {describe(got)}; a tuple with one stride per axis is asked.{missing}")
        got = tuple(got)
        if got != true:
            raise Wrong(f"{given} gave {got}; torch says {true}. {_why_not_strides(got, shape, true)}")
    return "The strides that torch gives to new tensors of seven shapes, one of them without axes."


def _why_not_strides(got: tuple, shape: tuple, true: tuple) -> str:
    if len(got) != len(shape):
        return f"{len(shape)} axes need {len(shape)} strides, one each; the last axis counts too, with stride 1."
    if got == tuple(prod(shape[:axis]) for axis in range(len(shape))):
        return "That is column by column, NumPy's order='F'. For torch neighbours along the last axis lie together."
    if got == true[::-1]:
        return "These are the right numbers, in the opposite order: the last axis has stride 1."
    if got == tuple(prod(shape[axis:]) for axis in range(len(shape))):
        return "A step along an axis passes all cells of the axes after it; its own length does not count."
    if got in [tuple(step * size for step in true) for size in (4, 8)]:
        return "That counts bytes, as NumPy does. torch counts elements."
    if got == (*shape[1:], 1):
        return "It fits two axes. With more, the first stride is the product of all later lengths."
    return "Start at the last axis with 1; going left, multiply by each length that you pass."


# ---- to_model_input


@exercise(LESSON)
def to_model_input(answer) -> str:
    """Compare with a conversion by NumPy alone, and look for shared memory by address and by writing."""
    rng = np.random.default_rng(0)
    scan, photo = rng.random((5, 7)), rng.integers(1, 255, (6, 9), dtype=np.uint8)
    photo[0, 0] = 255
    ready = rng.random((5, 7)).astype(np.float32)  # already in the model's dtype: .float() is then no copy
    locked = rng.random((4, 6))
    locked.flags.writeable = False
    arrays = {"a uint8 scan": photo, "a float64 scan": scan, "a float32 scan": ready, "a read-only scan": locked}
    arrays |= {"every second column of a uint8 scan": photo[:, ::2], "a scan turned upside down": scan[::-1]}
    arrays |= {"a nearly black uint8 scan": photo % 2}  # its dtype says what to divide by, its largest value does not
    for name, array in arrays.items():
        given, before = f"With {name} of shape {array.shape}", array.copy()
        got = answer(array)
        if not isinstance(got, Tensor):
            raise Wrong(f"{given} you gave {describe(got)}; a tensor is asked.")
        _right_input(got, before, given)
        if not np.array_equal(array, before):
            raise Wrong(f"{given} your function wrote into the array. Divide with `/`, not in place by `/=` or `div_`.")
        if np.may_share_memory(got.detach().numpy(), array):
            raise Wrong(
                f"{given} the tensor still shares memory with the array. `from_numpy` shares, and `.float()`, `.to` "
                f"and `as_tensor` copy only where they must change something. Which call always copies?"
            )
    return "Seven arrays, read-only, strided and upside down ones among them, and nothing is shared."


def _right_input(got: Tensor, array: np.ndarray, given: str) -> None:
    unit = array.astype(np.float64) / (255 if array.dtype == np.uint8 else 1)
    true = torch.tensor(unit.astype(np.float32)[None, None])
    if got.dtype != torch.float32:
        raise Wrong(f"{given} the tensor is {got.dtype}. The model's weights are torch.float32 and refuse others.")
    if got.shape != true.shape:
        raise Wrong(f"{given} the shape is {tuple(got.shape)}; (N, C, H, W) is asked: {tuple(true.shape)}.")
    if got.requires_grad:
        raise Wrong(f"{given} the tensor requires grad. Images are not learned: leave it off.")
    if torch.allclose(got, true, atol=1e-6):
        return
    low, high = got.min().item(), got.max().item()
    if torch.allclose(got, true * 255, atol=1e-3) and array.dtype == np.uint8:
        if high <= 1:
            raise Wrong(f"{given} its 1 stayed 1; that is 1 of 255. The dtype says so, and the largest value does not.")
        raise Wrong(f"{given} values reach {high:.0f}; 0 to 1 is asked. uint8 counts to 255.")
    if torch.allclose(got, true / 255, atol=1e-6):
        raise Wrong(f"{given} values end at {high:.4f}. Floats are in 0 to 1 already: divide only what is uint8.")
    if torch.equal(got, got.round()):
        raise Wrong(f"{given} only whole numbers are left. Cast to float32 before you divide.")
    raise Wrong(f"{given} values are {low:.2f} to {high:.2f}, not the array's: uint8 by 255, floats as they are.")


# ---- shares


@exercise(LESSON)
def shares(answer) -> str:
    """Compare with pairs that share, or do not, by the way they were made."""
    t, weight = torch.arange(24.0).reshape(4, 6), torch.ones(3, 4, requires_grad=True)
    pairs = [
        ("t and t.T", t, t.T, True, _NEW_OBJECT),
        ("t and t.clone()", t, t.clone(), False, "A copy has equal values at a place of its own: compare places."),
        ("t and t[1:]", t, t[1:], True, _LATER_START),
        ("t and t[:, [0, 2]]", t, t[:, [0, 2]], False, "Fancy indexing copies."),
        ("t and torch.from_numpy(t.numpy())", t, torch.from_numpy(t.numpy()), True, _SAME_PLACE),
        ("t[2:] and t[:2]", t[2:], t[:2], True, "No element is in both, and yet they lie in one storage."),
        ("weight and weight.detach()[1:]", weight, weight.detach()[1:], True, "detach() is a view too."),
        ("t and t.T.reshape(24)", t, t.T.reshape(24), False, "t.T cannot be read in one stride, so this one copies."),
    ]
    for name, a, b, true, why in pairs:
        before = a._version, b._version, a.detach().clone(), b.detach().clone()
        got = _one_truth(answer(a, b), name)
        if before[:2] != (a._version, b._version) or not (torch.equal(a, before[2]) and torch.equal(b, before[3])):
            raise Wrong(f"With {name} your function wrote into a tensor. The addresses tell it without a write.")
        if got != true:
            raise Wrong(f"With {name} you gave {got}, and it is {true}. {why}")
    whole = np.zeros(10)
    if not answer(torch.from_numpy(whole[:8]), torch.from_numpy(whole[2:])):
        return (
            "Eight pairs told apart. One kind is beyond it: tensors made from two slices of one array have two "
            "storages, which overlap. fl.storages compares where storages end as well."
        )
    return "Eight pairs told apart, and two storages that overlap within one array besides."


_NEW_OBJECT = "A new Python object reads the old storage, so `is` and `id` do not help: compare where the storages lie."
_LATER_START = "data_ptr() is where the first element lies, and a slice may start later in the same storage."
_SAME_PLACE = "The storage is another Python object at the same address: compare untyped_storage().data_ptr()."


def _one_truth(got, name: str) -> bool:
    several = isinstance(got, Tensor | np.ndarray) and np.prod(got.shape) != 1
    if several or not isinstance(got, bool | np.bool_ | Tensor):
        missing = " Is a `return` missing?" if got is None else ""
        raise Wrong(f"With {name} you gave {describe(got)}; True or False is asked.{missing}")
    return bool(got)


# ---- window


@exercise(LESSON)
def window(answer) -> str:
    """Compare with torch's own unfold, values and the address where the windows begin."""
    for given, make, size in [
        ("torch.arange(10.) in windows of 3", lambda: torch.arange(10.0), 3),
        ("every second element of torch.arange(14), in windows of 4", lambda: torch.arange(14)[::2], 4),
        ("torch.arange(9.)[3:] in windows of 2", lambda: torch.arange(9.0)[3:], 2),
        ("a column of a float64 matrix, in windows of 5", lambda: torch.rand(5, 3, dtype=torch.float64)[:, 1], 5),
        ("booleans in windows of 1", lambda: torch.arange(4) > 1, 1),
    ]:
        t = make()
        true, got, given = t.unfold(0, size, 1), answer(t, size), f"With {given}"
        if not isinstance(got, Tensor):
            raise Wrong(f"{given} you gave {describe(got)}; a tensor is asked.")
        if got.shape != true.shape:
            why = _why_not_shape(got, t, size)
            raise Wrong(f"{given} the shape is {tuple(got.shape)}, not {tuple(true.shape)}. {why}")
        if not torch.equal(got, true):
            raise Wrong(f"{given} the values are others. {_why_not_values(got, t, true)}")
        if got.data_ptr() != t.data_ptr():  # NumPy's sliding_window_view shares as well, in a storage of its own
            raise Wrong(f"{given} the values are right, in a copy. Windows that share need no new memory: as_strided.")
        if got.dtype != t.dtype:
            raise Wrong(f"{given} the dtype became {got.dtype}; it is {t.dtype}.")
    return "The windows of torch's own unfold, without a copy, of strided tensors too."


def _why_not_shape(got: Tensor, t: Tensor, size: int) -> str:
    if tuple(got.shape) == (len(t), size):
        return "The last windows would read past the end, where other numbers lie or none."
    if tuple(got.shape) == (len(t) // size, size):
        return "A window starts at every element, so windows overlap: the first stride is that of t."
    if tuple(got.shape) == (size, len(t) - size + 1):
        return "One window a row is asked, so axis 0 counts windows."
    return f"A window of {size} starts at every element that leaves room: {len(t) - size + 1} of {len(t)}."


def _why_not_values(got: Tensor, t: Tensor, true: Tensor) -> str:
    if got.stride() != true.stride():
        return f"t has stride {t.stride(0)}, your windows have strides {got.stride()}: ask t for its stride."
    if got.storage_offset() != true.storage_offset():
        return f"t begins at cell {t.storage_offset()} of its storage, your windows at cell {got.storage_offset()}."
    return f"The first window should be {true[0].tolist()}, yours is {got[0].tolist()}."
