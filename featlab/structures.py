"""What modules return, taken apart and put together again: tensors inside tuples, dicts, dataclasses and the like."""

import copy
import dataclasses
from collections.abc import Callable, Iterable
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
        return changed if type(value) is dict else _refill(value, changed.items())
    if isinstance(value, list):
        changed = [map_leaves(kind, change, item) for item in value]
        return changed if type(value) is list else _refill(value, enumerate(changed))
    if isinstance(value, tuple):
        changed = tuple([map_leaves(kind, change, item) for item in value])
        return changed if type(value) is tuple else _retuple(value, changed)
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
        dtype = str(value.dtype).removeprefix("torch.")
        if value.is_nested:  # one without a jagged layout has no shape as a whole
            return f"nested tensor of {value.size(0)} {dtype}"
        return f"{tuple(value.shape)} {dtype}"
    if isinstance(value, dict):
        inner = ", ".join(f"{key}: {describe(item)}" for key, item in list(value.items())[:3])
    elif isinstance(value, tuple | list):
        inner = ", ".join(describe(item) for item in value[:3])
    else:
        return "None" if value is None else type(value).__name__
    more = ", …" if len(value) > 3 else ""
    return f"{type(value).__name__} of {len(value)}: {inner}{more}"


def _refill(value: Any, items: Iterable[tuple]) -> Any:
    twin = copy.copy(value)
    for key, item in items:
        twin[key] = item
    return twin


def _retuple(value: tuple, items: tuple) -> tuple:
    """Return another of the value's class without calling its constructor, which may want or refuse what it likes."""
    try:
        twin = tuple.__new__(type(value), items)
    except TypeError:  # classes written in C, such as torch.Size and torch.return_types
        return type(value)(items)
    if hasattr(value, "__dict__"):
        vars(twin).update(vars(value))
    return twin
