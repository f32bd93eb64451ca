"""What a lesson must leave as found: the process's global state, and its models down to the bit."""

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

# the four kinds of hook that torch keeps on every module
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def process_state() -> dict:
    """Return what torch, NumPy and Python keep globally: name -> value, RNG states included."""
    state = {
        "grad mode": torch.is_grad_enabled(),
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "warn_always": torch.is_warn_always_enabled(),
        "deterministic mode": ("default", "warn", "error")[torch.get_deterministic_debug_mode()],
        "RNG of torch": torch.get_rng_state(),
        "RNG of NumPy": np.random.get_state(),  # noqa: NPY002 - the global one is what a lesson could disturb
        "RNG of Python": random.getstate(),
    }
    if torch.cuda.is_initialized():
        state["RNG of CUDA"] = torch.cuda.get_rng_state_all()
    return state


def restore(state: dict) -> None:
    """Set the process's global state back to what `process_state` returned."""
    torch.set_grad_enabled(state["grad mode"])
    torch.set_default_dtype(state["default dtype"])
    if torch.get_default_device() != state["default device"]:
        # None, not "cpu": a default device that was never set costs nothing on each call
        device = state["default device"]
        torch.set_default_device(None if device.type == "cpu" else device)
    torch.set_warn_always(state["warn_always"])
    torch.set_deterministic_debug_mode(state["deterministic mode"])
    torch.set_rng_state(state["RNG of torch"])
    np.random.set_state(state["RNG of NumPy"])  # noqa: NPY002
    random.setstate(state["RNG of Python"])
    if "RNG of CUDA" in state:
        torch.cuda.set_rng_state_all(state["RNG of CUDA"])


@contextmanager
def put_back() -> Iterator[None]:
    """Put the process's global state and the warning filters back after the block, also when it raises."""
    state = process_state()
    try:
        with warnings.catch_warnings():
            yield
    finally:
        restore(state)


def same(a, b) -> bool:
    """Compare two values of a state; tensors bit for bit, so that NaN equals itself."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        alike = a.dtype == b.dtype and a.device == b.device and a.shape == b.shape
        return alike and torch.equal(_bytes(a), _bytes(b))
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def model_state(model: nn.Module) -> dict[str, dict]:
    """Return a model's modes, requires_grad, hooks and exact values: kind -> name -> value."""
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    return {
        "modes": {name: module.training for name, module in modules.items()},
        "requires_grad": {name: parameter.requires_grad for name, parameter in parameters.items()},
        "hooks": {name: [h for kind in _HOOKS for h in getattr(m, kind).values()] for name, m in modules.items()},
        "parameters": {name: parameter.detach().clone() for name, parameter in parameters.items()},
        "buffers": {name: buffer.detach().clone() for name, buffer in model.named_buffers()},
    }


def changed(before: dict, after: dict) -> list[str]:
    """Return the names whose value is not the same, also those that came or went."""
    names = {**before, **after}
    return [name for name in names if not (name in before and name in after and same(before[name], after[name]))]
