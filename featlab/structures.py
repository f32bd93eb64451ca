"""What modules return, taken apart and put together again: tensors inside tuples, dicts, dataclasses and the like."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

from torch import Tensor


def map_leaves(kind: type, change: Callable, value: Any) -> Any:
    """Return the value with every instance of `kind` inside it replaced by `change(instance)`.

    Looks into tuples, lists, dicts, NamedTuples, dataclasses and their subclasses, and keeps each of these types; what
    is none of them is returned as it is. The given value is not changed.
    """
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, dict):
        changed = {key: map_leaves(kind, change, item) for key, item in value.items()}
        return changed if type(value) is dict else _refill(value, changed)
    if isinstance(value, tuple | list):
        changed = [map_leaves(kind, change, item) for item in value]
        if hasattr(value, "_fields"):  # a NamedTuple takes its fields one by one
            return type(value)(*changed)
        return type(value)(changed)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        twin = copy.copy(value)
        for field in dataclasses.fields(value):
            if hasattr(value, field.name):
                # object's own setter, so that a frozen dataclass works too
                object.__setattr__(twin, field.name, map_leaves(kind, change, getattr(value, field.name)))
        return twin
    return value


def leaves(kind: type, value: Any) -> list:
    """Return every instance of `kind` inside a value, in order."""
    found = []
    map_leaves(kind, lambda leaf: found.append(leaf) or leaf, value)
    return found


def paths(kind: type, value: Any) -> list[tuple[str, Any]]:
    """Return every instance of `kind` inside a value with how it is reached: "", "[0]", "['mask']", ".hidden[1]"."""
    if isinstance(value, kind):
        return [("", value)]
    if isinstance(value, dict):
        steps = [(f"[{key!r}]", item) for key, item in value.items()]
    elif isinstance(value, tuple | list):
        fields = getattr(value, "_fields", None)
        steps = [(f".{fields[i]}" if fields else f"[{i}]", item) for i, item in enumerate(value)]
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = [field.name for field in dataclasses.fields(value) if hasattr(value, field.name)]
        steps = [(f".{name}", getattr(value, name)) for name in named]
    else:
        steps = []
    return [(step + path, leaf) for step, item in steps for path, leaf in paths(kind, item)]


def describe(value: Any) -> str:
    """Return a value in a few words: "(8, 64, 56, 56) float32", "tuple of 2: ...", "dict of 3: ..."."""
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, dict):
        inner = ", ".join(f"{key}: {describe(item)}" for key, item in list(value.items())[:3])
    elif isinstance(value, tuple | list):
        inner = ", ".join(describe(item) for item in value[:3])
    else:
        return "None" if value is None else type(value).__name__
    more = ", …" if len(value) > 3 else ""
    return f"{type(value).__name__} of {len(value)}: {inner}{more}"


def _refill(value: dict, items: dict) -> dict:
    twin = copy.copy(value)
    for key, item in items.items():
        twin[key] = item
    return twin
