"""Run a model to look at it, and leave it as it was."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .selectors import every

_LAZY = "It has lazy submodules, whose shapes the first call sets. Call the model once, then look again."

# buffers, random numbers and torch.compile's stance are one for all threads, so blocks that change them take turns;
# a second lock could wait for this one while this one waits for it
turns = threading.RLock()

# module -> how many blocks of `in_eval` hold it, and its own flag
_held: dict[int, tuple[int, bool]] = {}
_holding = threading.Lock()


@contextmanager
def looking(model: nn.Module) -> Iterator[None]:
    """Put back, after the block, every mode, every buffer and the random numbers of torch, NumPy and Python.

    Buffers are put back by value, so that the running statistics of a train-mode forward are undone too; parameters
    are not copied, because a forward leaves them alone. Looks in several threads take turns.
    """
    with turns, torch.random.fork_rng(devices=_used_gpus()):
        flags = [(module, module.training) for module in every(model)]
        buffers = [(module, key, value) for module, _ in flags for key, value in module._buffers.items()]
        tensors = {id(buffer): buffer for *_, buffer in buffers if buffer is not None}.values()
        kept = [(buffer, buffer.detach(), buffer.detach().clone()) for buffer in tensors]
        drawn = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global one is what a forward could move
        try:
            yield
        finally:
            random.setstate(drawn[0])
            np.random.set_state(drawn[1])  # noqa: NPY002
            for module, training in flags:
                if module.training != training:
                    module.training = training
            for module, key, buffer in buffers:
                # TorchScript's dict of buffers knows `in`, not `get`
                if key not in module._buffers or module._buffers[key] is not buffer:
                    module._buffers[key] = buffer
            for buffer, own, values in kept:
                _put_back(buffer, own, values)


@contextmanager
def in_eval(model: nn.Module) -> Iterator[None]:
    """Run the block with every submodule in eval mode; of blocks that overlap, in several threads, the last puts back.

    `fl.evaluating` puts back what it found, which may be the eval mode of another thread's block.
    """
    modules = every(model)
    with _holding:
        for module in modules:
            number, training = _held.get(id(module), (0, module.training))
            _held[id(module)] = number + 1, training
            if module.training:
                module.training = False
    try:
        yield
    finally:
        with _holding:
            for module in modules:
                number, training = _held.pop(id(module))
                if number > 1:
                    _held[id(module)] = number - 1, training
                elif module.training != training:
                    module.training = training


def modes_of(modules: list[nn.Module]) -> list[bool] | None:
    """Return the flags; None while a block of `in_eval` is open in any thread, for they may not be the modules' own."""
    return None if _held else [module.training for module in modules]


def put_modes(modules: list[nn.Module], modes: list[bool] | None) -> None:
    """Give back the flags that `modes_of` found, unless a block of `in_eval` is open, which needs them as they are."""
    with _holding:
        if modes is not None and not _held:
            for module, training in zip(modules, modes, strict=True):
                if module.training != training:
                    module.training = training


def refuses(model: nn.Module) -> str:
    """Say why this model cannot be looked at without being changed, or return ""."""
    tensors = [tensor for m in every(model) for tensor in (*m._parameters.values(), *m._buffers.values())]
    return _LAZY if any(map(is_lazy, tensors)) else ""


def _put_back(buffer: Tensor, own: Tensor, values: Tensor) -> None:
    """Give a buffer the storage, shape and values that it had; `own` is a tensor of its own in that storage."""
    with suppress(Exception):  # not every kind can be compared: meta, sparse, nested
        if torch.equal(buffer, values):
            return
    # .data, so that a graph the user made before this look can still run backward
    try:
        buffer.data = own
        buffer.data.copy_(values)
    except RuntimeError:  # what shares its elements, or is sparse, takes no copy
        buffer.data = values


def _used_gpus() -> list[int]:
    return list(range(torch.cuda.device_count())) if torch.cuda.is_available() and torch.cuda.is_initialized() else []
