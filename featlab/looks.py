"""Run a model to look at it, and leave it as it was."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from .selectors import every


@contextmanager
def looking(model: nn.Module) -> Iterator[None]:
    """Put back, after the block, every mode, every buffer and the random number generators.

    Buffers are put back by value, so that the running statistics of a train-mode forward are undone too; parameters
    are not copied, because a forward leaves them alone.
    """
    flags = [(module, module.training) for module in every(model)]
    buffers = [(module, key, value) for module, _ in flags for key, value in module._buffers.items()]
    values = {id(buffer): buffer.detach().clone() for *_, buffer in buffers if buffer is not None}
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=_used_gpus()))
        try:
            yield
        finally:
            for module, training in flags:
                if module.training != training:
                    module.training = training
            for module, key, buffer in buffers:
                # TorchScript's dict of buffers knows `in`, not `get`
                if key not in module._buffers or module._buffers[key] is not buffer:
                    module._buffers[key] = buffer
                if buffer is not None and not torch.equal(buffer, values[id(buffer)]):
                    # .data, so that a graph the user made before this look can still run backward
                    buffer.data.copy_(values[id(buffer)])


def _used_gpus() -> list[int]:
    return list(range(torch.cuda.device_count())) if torch.cuda.is_available() and torch.cuda.is_initialized() else []
