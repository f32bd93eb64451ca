"""Two snapshots of one model in, what differs out."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from torch import Tensor

from .differences import Kept, moved, shape_of
from .snapshots import Snapshot
from .states import same


class Change(NamedTuple):
    """What stood there before and what after; None is nothing at all."""

    before: object
    after: object


def compare(before: Snapshot, after: Snapshot) -> dict[str, dict]:
    """Return what differs: kind -> name -> `Change` or max |Δ|. `before` kept its tensors, `after` has them live."""
    modules = dict(_modules(before.modules, after.modules))
    both = [(name, kept, after.kept[name]) for name, kept in before.kept.items() if name in after.kept]
    gaps = {name: gap for name, kept, tensor in both if (gap := moved(kept, tensor)) != 0}
    return {
        "modules": modules,
        "modes": _differing(before.modes, after.modes),
        "frozen": _differing(before.frozen, after.frozen),
        "requires_grad": _differing(before.requires_grad, after.requires_grad),
        "hooks": {
            name: Change(_described(change.before), _described(change.after))
            for name, change in _differing(before.hooks, after.hooks).items()
        },
        "tensors": dict(_tensors(before, after, told=tuple(f"{name}." for name in modules))),
        "dtypes": {name: Change(kept.dtype, now.dtype) for name, kept, now in both if kept.dtype != now.dtype},
        "devices": {name: Change(kept.device, now.device) for name, kept, now in both if kept.device != now.device},
        "parameters": {name: gap for name, gap in gaps.items() if name in after.parameters},
        "buffers": {name: gap for name, gap in gaps.items() if name in after.buffers},
        "optimizer": {**dict(_groups(before, after)), **dict(_state(before, after))},
    }


def _differing(before: Mapping, after: Mapping) -> dict[str, Change]:
    """Return what is another value of the names that both have."""
    return {name: Change(old, after[name]) for name, old in before.items() if name in after and after[name] != old}


def _described(hooks: Mapping) -> tuple[str, ...]:
    return tuple(f"{kind}: {getattr(hook, '__qualname__', type(hook).__name__)}" for (kind, _), hook in hooks.items())


def _replaced(old: str | None, new: str | None) -> Change:
    return Change(old, f"another {new}" if old == new else new)


def _modules(before: Mapping, after: Mapping) -> Iterator[tuple[str, Change]]:
    """Yield where a submodule came, went or is another object; not again what lies below one."""
    told = set()
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        if name.rpartition(".")[0] in told:
            told.add(name)
        elif old is not new:
            told.add(name)
            yield name, _replaced(*(None if module is None else type(module).__name__ for module in (old, new)))


def _tensors(before: Snapshot, after: Snapshot, *, told: tuple[str, ...]) -> Iterator[tuple[str, Change]]:
    """Yield the parameters and buffers that came, went, are another object or have another shape."""
    for name in {**before.kept, **after.kept}:
        if name.startswith(told):
            continue  # its submodule is told as a whole
        kept, now = before.kept.get(name), after.kept.get(name)
        was = None if kept is None else _words(before, name, kept.shape)
        is_ = None if now is None else _words(after, name, shape_of(now))
        if was != is_:
            yield name, Change(was, is_)
        elif before.tensors[name] is not after.tensors[name]:
            # to(device) and half() make other buffers: those are told by devices and dtypes
            converted = name in after.buffers and (kept.dtype, kept.device) != (now.dtype, now.device)
            if not converted:
                yield name, _replaced(was, is_)


def _words(moment: Snapshot, name: str, shape: tuple | None) -> str:
    return f"{'parameter' if name in moment.parameters else 'buffer'} {_shown(shape)}"


def _shown(shape: tuple[int, ...] | None) -> str:
    return "uninitialised" if shape is None else str(shape)


def _groups(before: Snapshot, after: Snapshot) -> Iterator[tuple[str, Change]]:
    """Yield the optimizer's options that differ, and the parameters that came, went or moved between groups."""
    for number in {**before.groups, **after.groups}:
        old, new = before.groups.get(number), after.groups.get(number)
        if old is None or new is None:
            yield number, Change(old, new)
            continue
        for key in {**old, **new}:
            if not same(old.get(key), new.get(key)):
                yield f"{number}: {key}", Change(old.get(key), new.get(key))
    for name in {**before.places, **after.places}:
        if before.places.get(name) != after.places.get(name):
            yield name, Change(before.places.get(name), after.places.get(name))


def _state(before: Snapshot, after: Snapshot) -> Iterator[tuple[str, Change | float | None]]:
    """Yield what the optimizer remembers otherwise: a tensor by how far it moved, other values as before and after."""
    for name in {**before.state, **after.state}:
        old, new = before.state.get(name), after.state.get(name)
        if isinstance(old, Kept) and isinstance(new, Tensor) and old.shape == shape_of(new):
            if (gap := moved(old, new)) != 0:
                yield name, gap
        elif isinstance(old, Kept) or isinstance(new, Tensor) or not same(old, new):
            old = f"tensor {old.shape}" if isinstance(old, Kept) else old
            yield name, Change(old, f"tensor {tuple(new.shape)}" if isinstance(new, Tensor) else new)
