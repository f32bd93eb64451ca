"""Why a submodule was never seen to run."""

import torch
from torch import nn

from .selectors import find, holds


class NeverRan(KeyError):
    """A submodule that was asked for was not called.

    Claims: H10.
    """

    __str__ = Exception.__str__  # a KeyError would show its message in quotes


def why_never(model: nn.Module, name: str) -> str:
    """Say why nothing was kept for a name, as exactly as can be known."""
    base = name if holds(model, name) else name.rpartition("_")[0]
    if not holds(model, base):
        return f"'{name}' was not captured, and {type(model).__name__} has no such submodule."
    if base != name and not holds(model, name):
        return f"'{base}' was not called often enough for '{name}'."
    family = [model, *(find(model, base[:at]) for at, sign in enumerate(base) if sign == ".")]
    module = find(model, base)
    parent = family[-1]
    if isinstance(module, nn.ModuleList | nn.ModuleDict):
        reason = f"{type(module).__name__} only holds others and is never called; ask for '{base}.*'."
    elif isinstance(parent, nn.MultiheadAttention):
        reason = "MultiheadAttention reads its out_proj's weight and never calls it; ask for the attention itself."
    elif any(isinstance(m, torch.jit.ScriptModule) for m in [*family, module]):
        reason = "It is inside TorchScript, which calls no hooks; give the model as it was before scripting."
    else:
        reason = (
            "Likely reasons: the forward took another branch; it calls the submodule's .forward(), which calls no "
            "hook; a function (F.relu, a fused fast path) does its work; it ran compiled or in another thread; "
            "or it was not selected."
        )
    return f"'{name}' ({type(module).__name__}) never ran. {reason}"
