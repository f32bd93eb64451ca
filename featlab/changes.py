"""What did this block of code change in the model?"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from html import escape

from torch import nn
from torch.optim import Optimizer

from .comparisons import Change, compare
from .differences import keep
from .selectors import check_module
from .snapshots import snapshot
from .tables import Table

KINDS = ("modules", "modes", "frozen", "requires_grad", "hooks", "tensors", "dtypes", "devices")
KINDS += ("parameters", "buffers", "optimizer")
# more rows than this that say the same are shown as one
_ROWS = 4
_MOVED = "moved"


class Changes:
    """What a block changed, name -> `Change` or max |Δ|; False when nothing changed. Filled when the block has ended.

    max |Δ| is NaN where a NaN came or went, and None where `exact=False` knows that it changed but not by how much.
    """

    modules: Mapping[str, Change]  # added, removed or replaced; what lies below one is not listed again
    modes: Mapping[str, Change]
    frozen: Mapping[str, Change]  # by featlab's freeze
    requires_grad: Mapping[str, Change]
    hooks: Mapping[str, Change]  # of submodules and parameters
    tensors: Mapping[str, Change]  # parameters and buffers added, removed, replaced or of another shape
    dtypes: Mapping[str, Change]
    devices: Mapping[str, Change]
    parameters: Mapping[str, float | None]
    buffers: Mapping[str, float | None]
    optimizer: Mapping[str, Change | float | None]  # options, who is in which group, state

    def __getattr__(self, name: str):
        if name in KINDS:
            raise AttributeError(f"{name} is known when the block has ended: read it below the `with`, not inside.")
        raise AttributeError(f"watch tells {', '.join(KINDS)}; it has no '{name}'.")

    def __bool__(self) -> bool:
        return any(getattr(self, kind) for kind in KINDS)

    @property
    def table(self) -> Table:
        """The changes as rows (what, name, change); many that say the same are one row."""
        counts = [f"{kind} {len(found)}" for kind in KINDS if (found := getattr(self, kind))]
        rows = [row for kind in KINDS for row in _rows(kind, getattr(self, kind))]
        return Table(rows, columns=("what", "name", "change"), caption=f"Changed: {', '.join(counts)}.")

    def __repr__(self) -> str:
        if "modules" not in vars(self):
            return "What changed is known when the block has ended."
        return repr(self.table) if self else "Nothing changed."

    def _repr_html_(self) -> str:
        return self.table._repr_html_() if "modules" in vars(self) and self else f"<p>{escape(repr(self))}</p>"


@contextmanager
def watch(model: nn.Module, *, optimizer: Optimizer | None = None, exact: bool = True) -> Iterator[Changes]:
    """Tell, after the block, everything that it changed in the model, also when it raised; put nothing back.

    Args:
        optimizer: tell its options, groups and state too.
        exact: keep a copy of every value and tell max |Δ|. False keeps 8 bytes of each tensor, which saves the memory
            of a copy but no time, and tells only which changed; it takes -0.0 for another value than 0.0.

    Values are compared themselves, so `.data` edits and fused optimizers do not go unseen. A submodule or tensor that
    the model holds under several names is told under its first, except in `modules`. Gradients and plain attributes,
    such as a Dropout's `p`, are not watched.

    Claims: M4, M8, X9.
    """
    check_module(model)
    if optimizer is not None and not (hasattr(optimizer, "param_groups") and hasattr(optimizer, "state")):
        raise TypeError(
            f"optimizer is a torch.optim.Optimizer; this is {type(optimizer).__name__}, without groups or state. "
            "Give the optimizer itself, one per watch."
        )
    before = snapshot(model, optimizer, partial(keep, exact=exact))
    did = Changes()
    try:
        yield did
    finally:
        vars(did).update(compare(before, snapshot(model, optimizer, lambda tensor: tensor)))


def _rows(kind: str, found: Mapping) -> Iterator[dict]:
    """Yield the rows of one kind; more than a few that say the same become one, at the place of the first."""
    alike = {}
    for name, change in found.items():
        alike.setdefault(_said(change), []).append(name)
    for said, names in alike.items():
        if len(names) <= _ROWS:
            changes = [(name or "(root)", _text(found[name])) for name in names]
        elif said is _MOVED:
            most = max(names, key=lambda name: _size(found[name]))
            changes = [(f"{len(names)} of them, most of all {most}", _text(found[most]))]
        else:
            changes = [(f"{len(names)} of them, first {names[0] or '(root)'}", said)]
        yield from ({"what": kind, "name": name, "change": text} for name, text in changes)


def _said(change: Change | float | None) -> str:
    """Return what is alike in many rows: that numbers moved, by whichever amount, and any other text but shapes."""
    return _MOVED if isinstance(change, float | None) else re.sub(r"tensor \(.*\)", "tensor", _text(change))


def _text(change: Change | float | None) -> str:
    if change is None:
        return "changed"
    if isinstance(change, Change):
        return f"{_shown(change.before)} → {_shown(change.after)}"
    return f"moved by {change:.3g}"


def _shown(value: object) -> str:
    if value is None:
        return "-"
    is_hooks = isinstance(value, tuple) and all(isinstance(part, str) for part in value)
    return (", ".join(value) or "-") if is_hooks else str(value)


def _size(gap: float | None) -> tuple[bool, float]:
    """Order gaps so that NaN stands above every number."""
    return (gap != gap, gap or 0)
