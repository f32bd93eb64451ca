"""Who shares memory with whom: torch tensors and NumPy arrays in one table, decided by the addresses they read."""

from collections.abc import Mapping
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

from featlab.tables import Table

_COLUMNS = ["name", "storage", "type", "address", "offset", "shape", "strides", "dtype", "version", "device"]


class Storages(Table):
    """A table of tensors and arrays in which those that share memory carry the same letter.

    `address` counts bytes from where the letter's memory starts ("A + 24 B"); the machine's own number is
    `.rows[i]["data_ptr"]`. `offset` is torch's `storage_offset()`, `version` its count of in-place writes, which
    does not see NumPy's; an array has neither. `strides` count elements on both sides.

    Attributes:
        groups: letter -> names that share it, in the order given; what has no memory of its own is not in it.
    """

    def __init__(self, rows: list[dict]):
        noted = [*_COLUMNS, "note"] if any(row["note"] for row in rows) else _COLUMNS
        self.groups: dict[str, list[str]] = {}
        for row in rows:
            if row["storage"]:
                self.groups.setdefault(row["storage"], []).append(row["name"])
        super().__init__(rows, columns=noted, caption=_sentence(self.groups))

    def shares(self, first: str, *others: str) -> bool:
        """Say whether all these names have one storage in common; False where one of them has none."""
        known = {row["name"]: row["storage"] for row in self.rows}
        for name in (first, *others):
            if name not in known:
                raise KeyError(f"'{name}' is not in this table. It has: {', '.join(known) or 'no rows'}.")
        return known[first] is not None and {known[name] for name in others} <= {known[first]}


def storages(*mappings: Mapping, **values: Tensor | np.ndarray) -> Storages:
    """Show for each tensor or array which storage it reads, and from where.

    Sharing is decided by real memory: two names share when the storage of one overlaps that of the other on the same
    device. A storage is the whole block behind a view, so `t[:2]` and `t[2:]` share one although no element is in both.
    Nothing is read from that memory, nothing written.

    Args:
        mappings: name -> tensor or array, for names that are no Python names, e.g. `model.state_dict()`.
        values: the same as keywords, `fl.storages(a=a, t=t)`.

    Raises:
        TypeError: a value is neither a tensor nor an array, or came without a name.
        ValueError: one name was given twice.

    Claims: T3, T4, T5, T8.
    """
    named = _named(mappings, values)
    rows = [_describe(name, value) for name, value in named.items()]
    _letter(rows)
    return Storages(rows)


def _named(mappings: tuple, values: dict) -> dict[str, Tensor | np.ndarray]:
    if not mappings and not values:
        raise TypeError("fl.storages was given nothing. Give it tensors or arrays by name: fl.storages(a=a, t=t).")
    named: dict[str, Tensor | np.ndarray] = {}
    for mapping in (*mappings, values):
        if not isinstance(mapping, Mapping):
            hint = "fl.storages(model.state_dict())" if isinstance(mapping, torch.nn.Module) else "fl.storages(t=t)"
            raise TypeError(f"fl.storages was given {_a(mapping)} without a name. Its rows need names: {hint}.")
        for name, value in mapping.items():
            if name in named:
                raise ValueError(f"fl.storages was given the name '{name}' twice. Rename one of the two.")
            if not isinstance(value, Tensor | np.ndarray):
                raise TypeError(
                    f"fl.storages was given {name}, {_a(value)}. It compares torch tensors and NumPy arrays, which "
                    f"read one block of memory each. Convert it first, or leave it out."
                )
            named[str(name)] = value
    return named


def _a(value: object) -> str:
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}"


def _describe(name: str, value: Tensor | np.ndarray) -> dict:
    """Return one row. `block` is (device, first byte, byte after the last) of the memory behind it, or None."""
    row = {column: None for column in [*_COLUMNS, "note", "data_ptr", "block"]}
    row |= {"name": name, "type": type(value).__name__}
    return row | (_tensor(value) if isinstance(value, Tensor) else _array(value))


def _array(array: np.ndarray) -> dict:
    start, itemsize = array.__array_interface__["data"][0], array.dtype.itemsize
    whole = itemsize > 0 and all(step % itemsize == 0 for step in array.strides)
    notes = ["read-only"] * (not array.flags.writeable) + ["strides in bytes"] * (not whole)
    return {
        "shape": array.shape,
        "strides": tuple(step // itemsize for step in array.strides) if whole else array.strides,
        "dtype": str(array.dtype),
        "device": "cpu",
        "note": "; ".join(notes) or None,
        "data_ptr": start,
        "block": _block_of_array(array),
    }


def _block_of_array(array: np.ndarray) -> tuple[str, int, int]:
    """Follow `.base` to whoever owns the memory: an array, a tensor, or a buffer such as bytes or a mapped file."""
    owner = array
    while (base := getattr(owner, "base", None)) is not None:
        owner = base
        array = owner if isinstance(owner, np.ndarray) else array
    if isinstance(owner, Tensor) and (block := _tensor(owner).get("block")):
        return block
    if not isinstance(owner, np.ndarray):
        # an opaque owner, e.g. a DLPack capsule, shows no buffer: then what the innermost array spans must do
        with suppress(TypeError, ValueError, BufferError):
            array = np.frombuffer(owner, dtype=np.uint8)
    return ("cpu", *_bounds(array))


def _bounds(array: np.ndarray) -> tuple[int, int]:
    """Return the first byte and the byte after the last that an array can reach; strides may be negative."""
    first = last = array.__array_interface__["data"][0]
    if array.size == 0:
        return first, first
    for length, step in zip(array.shape, array.strides, strict=True):
        reach = (length - 1) * step
        first, last = first + min(reach, 0), last + max(reach, 0)
    return first, last + array.dtype.itemsize


def _tensor(tensor: Tensor) -> dict:
    row = {
        "offset": _asked(tensor.storage_offset),
        "shape": _asked(lambda: tuple(tensor.shape)),
        "strides": _asked(tensor.stride),
        "dtype": str(tensor.dtype),
        "version": _asked(lambda: tensor._version),
        "device": str(tensor.device),
    }
    if tensor.layout != torch.strided:
        hidden = {"offset": None, "strides": None}
        return row | hidden | {"note": _LAYOUTS.get(tensor.layout, "its layout hides its memory")}
    storage = _asked(tensor.untyped_storage)
    if storage is None:
        uninitialised = isinstance(tensor, torch.nn.parameter.UninitializedTensorMixin)
        return row | {"note": "gets shape and memory at the first forward" if uninitialised else "wraps another tensor"}
    if storage.device.type == "meta":
        return row | {"note": "a shape without memory"}
    start = _asked(storage.data_ptr)
    if start is None:
        return row | {"note": "wraps another tensor"}
    flags = [text for asked, text in _FLAGS if _asked(lambda asked=asked: asked(tensor))]
    block = (str(storage.device), start, start + storage.nbytes())
    data_ptr = None if tensor.is_nested else start + tensor.storage_offset() * tensor.element_size()
    return row | {"note": "; ".join(flags) or None, "data_ptr": data_ptr, "block": block}


_LAYOUTS = {
    torch.jagged: "nested: look at .values()",
    torch.sparse_coo: "sparse: look at .indices() and .values()",
    torch.sparse_csr: "sparse: look at .crow_indices() and .values()",
    torch.sparse_csc: "sparse: look at .ccol_indices() and .values()",
    torch.sparse_bsr: "sparse: look at .crow_indices() and .values()",
    torch.sparse_bsc: "sparse: look at .ccol_indices() and .values()",
}
_FLAGS = (
    (Tensor.is_conj, "reads as its conjugate"),
    (Tensor.is_neg, "reads with the sign turned"),
    (Tensor.is_inference, "inference tensor: keeps no version"),
)


def _asked(question):
    """Return what a tensor answers, or None where its kind has no such thing (sparse, nested, wrapped, lazy...)."""
    try:
        return question()
    except (RuntimeError, ValueError):
        return None


def _letter(rows: list[dict]) -> None:
    """Give every row with memory the letter of its block, and its address within it; overlapping blocks are one."""
    merged: list[list] = []  # [device, first, last, rows]
    for row in sorted((row for row in rows if row["block"]), key=lambda row: row["block"]):
        device, first, last = row["block"]
        if first == last:
            row["note"] = "; ".join(filter(None, ["empty: no memory to share", row["note"]]))
        elif merged and merged[-1][0] == device and first < merged[-1][2]:
            merged[-1][2] = max(last, merged[-1][2])
            merged[-1][3].append(row)
        else:
            merged.append([device, first, last, [row]])
    block_of = {id(row): block for block in merged for row in block[3]}
    letters: dict[int, str] = {}
    for row in rows:
        if (block := block_of.get(id(row))) is not None:
            row["storage"] = letters.setdefault(id(block), _letters(len(letters)))
            row["block"] = tuple(block[:3])
            if row["data_ptr"] is not None:
                row["address"] = f"{row['storage']} + {row['data_ptr'] - block[1]} B"


def _letters(number: int) -> str:
    """Count A, B, ... Z, AA, AB, ..."""
    return ("" if number < 26 else _letters(number // 26 - 1)) + chr(ord("A") + number % 26)


def _sentence(groups: dict[str, list[str]]) -> str:
    shared = {letter: names for letter, names in groups.items() if len(names) > 1}
    alone = [names[0] for names in groups.values() if len(names) == 1]
    said = [f"{_listed(names)} share storage {letter}" for letter, names in list(shared.items())[:3]]
    if len(shared) > 3:
        said.append(f"{len(shared) - 3} more storages are shared")
    if alone:
        said.append(f"{_listed(alone)} {'has its' if len(alone) == 1 else 'have their'} own")
    return "; ".join(said) + "." if shared else "No two share a storage."


def _listed(names: list[str]) -> str:
    if len(names) > 8:
        return f"{', '.join(names[:6])} and {len(names) - 6} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
