"""Look at one model with one input: what each submodule returns, computed when asked for, and kept for a while."""

import random
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .absences import NeverRan, why_never
from .activations import arguments, labels, run_features, shapes
from .looks import looking, refuses
from .outlines import Outline, outline
from .selectors import UnknownName, every, names, walk
from .structures import describe, leaves, map_leaves

_KEPT = 2**28  # bytes of features that all onlookers keep together: a notebook forgets none of its widgets
_SPARSE = {torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc}
_SCRIPTED = "It is TorchScript, which calls no hooks. Give the model as it was before scripting."

_everyone: weakref.WeakSet["Onlooker"] = weakref.WeakSet()


class Onlooker:
    """Run a model to look at it, and leave it as found: modes, buffers and random numbers too.

    One forward at the start notes the shapes of all submodules. A feature is computed when it is first asked for, by a
    forward that stops there, and kept; when the model has changed since, all is looked at anew. Layers that draw random
    numbers draw the same ones in each look.

    Args:
        x: a tensor, a tuple of positional or a dict of keyword arguments, of which a copy is kept; or None.

    Attributes:
        outline: the tree.
        calls: submodule -> one (given, returned) in words for each call of the first forward.
        error: what that forward raised or why there was none, in words, or "".
        looks: how many times all was looked at anew.
    """

    def __init__(self, model: nn.Module, x: Any = None):
        self.model, self.has_input, self.looks = model, x is not None, 0
        self._kept: OrderedDict[str, Any] = OrderedDict()
        _everyone.add(self)
        self._input = _copy(arguments(x)) if self.has_input else ((), {})
        self.look()

    def look(self) -> None:
        """Read the tree and run the model again, and forget what was kept."""
        self.looks += 1
        self.outline: Outline = outline(self.model)
        self.calls: dict[nn.Module, list[tuple[str, str]]] = {}
        self._refusal = self._refuses()
        self.error = self._refusal
        self._rows = {name: row for row, name in enumerate(self.outline.names)}
        self._kept.clear()
        if self.has_input and not self.error:
            try:
                with self._watching() as (args, kwargs), shapes(self.model) as self.calls:
                    self.model(*args, **kwargs)
            except Exception as error:  # the user's model may raise anything; it is told, and the tree remains
                self.error = f"The model raised on this input. {explain(error, self.model)}"
            self._state = self._fingerprint()

    def row(self, name: str) -> int:
        """Return the row of a submodule in the outline; a repeat ("relu_1") has the row of its submodule.

        Raises:
            UnknownName: there is none; the message suggests near names.
        """
        base = name.rpartition("_")[0]
        if name in self._rows:
            return self._rows[name]
        if base in self._rows and name in self.labels(self._rows[base]):
            return self._rows[base]
        names(self.model, [name])
        raise UnknownName(
            f"'{name}' is no name of the tree: it stands for several submodules, or was added since. Give one name of "
            "the tree; refresh() looks at the model anew."
        )

    def labels(self, row: int) -> list[str]:
        """Return the names of a submodule's calls: its own, then "relu_1" and so on."""
        number = len(self.calls.get(self.outline.modules[row], ()))
        return list(islice(labels(self.model, self.outline.names[row]), max(1, number)))

    def output(self, row: int) -> str:
        """Return what a submodule returned in its first call, in words; float32 goes without saying."""
        calls = self.calls.get(self.outline.modules[row])
        if calls:
            return calls[0][1].removesuffix(" float32")
        return "" if not self.has_input or self._refusal else "not reached" if self.error else "never ran"

    @property
    def given(self) -> str:
        """The input in words."""
        args, kwargs = self._input
        return ", ".join(map(describe, (*args, *kwargs.values())))

    @property
    def batch(self) -> tuple[str, int] | None:
        """What axis 0 of the input counts, and how many."""
        first = next((tensor for tensor in leaves(Tensor, self._input) if tensor.ndim), None)
        return None if first is None else ("image" if first.ndim == 4 else "sample", first.shape[0])

    def features(self, asked: list[str]) -> dict[str, Any]:
        """Return what the submodules return; of what was kept, the very same tensors.

        Raises:
            LookupError: there is no input.
            NeverRan: the first forward came to its end without calling one of them.
            Exception: whatever the model raises.
        """
        if not self.has_input:
            raise LookupError("There is no input to compute a feature from: LayerPicker(model, x) takes one.")
        if self._refuses() != self._refusal or (not self._refusal and self._fingerprint() != self._state):
            self.look()
        if self._refusal:
            raise ValueError(self._refusal)
        for name in asked:
            if not self.error and self.outline.modules[self.row(name)] not in self.calls:
                raise NeverRan(why_never(self.model, name))
        answer = {name: self._kept[name] for name in asked if name in self._kept}
        missing = [name for name in asked if name not in answer]
        if missing:
            try:
                with self._watching() as (args, kwargs):
                    answer |= run_features(self.model, args, kwargs, missing, mode=None, copy=True, warn=False)
            finally:
                self._state = self._fingerprint()  # a look in train mode steps versions, though it leaves the values
        for name in asked:
            self._kept[name] = answer[name]
            self._kept.move_to_end(name)
        self._drop_oldest(len(asked))
        return {name: answer[name] for name in asked}

    def _drop_oldest(self, spared: int) -> None:
        """Forget what others keep, then the oldest of our own, until the rest is small enough."""
        sizes = self._sizes()
        others = {other: sum(other._sizes().values()) for other in _everyone if other is not self}
        while others and sum(sizes.values()) + sum(others.values()) > _KEPT:
            others.popitem()[0]._kept.clear()
        while sum(sizes.values()) > _KEPT and len(sizes) > spared:
            oldest = next(iter(sizes))
            del sizes[oldest], self._kept[oldest]

    def _sizes(self) -> dict[str, int]:
        return {name: sum(map(_size, leaves(Tensor, value))) for name, value in self._kept.items()}

    @contextmanager
    def _watching(self) -> Iterator[tuple[tuple, dict]]:
        """Yield a fresh copy of the input, in a block that moves nothing and draws the same random numbers."""
        with looking(self.model), torch.no_grad():
            random.seed(0)
            np.random.seed(0)  # noqa: NPY002 - the global one is what a forward draws from
            torch.default_generator.manual_seed(0)
            if torch.cuda.is_initialized():
                torch.cuda.manual_seed_all(0)
            yield _copy(self._input)

    def _refuses(self) -> str:
        """Say why this model cannot be looked at, or return ""."""
        if isinstance(self.model, torch.jit.ScriptModule):
            return _SCRIPTED
        return refuses(self.model)

    def _fingerprint(self) -> list:
        """Return what differs after training, `.to()`, a new hook or a change of mode; it reads no values."""
        found: list = []
        for module in every(self.model):
            found.append((id(module), module.training, *module._forward_hooks, *module._forward_pre_hooks))
            for tensor in (*module._parameters.values(), *module._buffers.values()):
                if tensor is not None:
                    found.append((id(tensor), 0 if tensor.is_inference() else tensor._version, tensor.device))
        return found


def explain(error: BaseException, model: nn.Module) -> str:
    """Return what a forward raised, and in which submodule, in words."""
    known = {id(module): f" in {name} ({type(module).__name__})" for name, module in reversed(list(walk(model)))}
    inside, step = "", error.__traceback__
    while step is not None:
        me = step.tb_frame.f_locals.get("self")
        inside = known.get(id(me), inside) if isinstance(me, nn.Module) else inside
        step = step.tb_next
    return f"{type(error).__name__}{inside}: {str(error)[:1000]}"


def _size(tensor: Tensor) -> int:
    """Return the bytes of a tensor's values; `nbytes` raises for a sparse one."""
    return (tensor._nnz() if tensor.layout in _SPARSE else tensor.numel()) * tensor.element_size()


def _copy(value: Any) -> Any:
    return map_leaves(Tensor, lambda tensor: tensor.detach().clone(), value)
