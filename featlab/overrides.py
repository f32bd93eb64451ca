"""What a class made of nn.Module's `train` and `eval`, and of its own hooks, told without calling any of them."""

import dis
import inspect
from collections.abc import Callable, Hashable
from functools import cache, partial

from torch import nn

from .switches import is_frozen


def fault_of(module: nn.Module) -> str | None:
    """Say why train() and eval() cannot switch this module; None when they can."""
    own = vars(module)
    if not isinstance(module.training, bool):
        return f"`training` holds {module.training!r}, no bool."
    for name in ("train", "eval"):
        if name in own and not callable(own[name]) and not is_frozen(module):
            return f"`{name}` is an attribute that holds {type(own[name]).__name__}, no method."
    return _fault_of_class(type(module))


@cache
def _fault_of_class(kind: type) -> str | None:
    train = kind.train
    if train is nn.Module.train or not inspect.isfunction(train):
        return None
    parameters = list(inspect.signature(train).parameters.values())[1:]
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return None
    required = [one for one in parameters if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD]
    is_mode = bool(parameters) and (isinstance(parameters[0].default, bool) or "mode" in parameters[0].name)
    if not is_mode or len(required) > 1:
        given = ", ".join(one.name for one in parameters)
        return f"{kind.__name__} defines train({given}), and eval() calls train(False)."
    if _returns_nothing(train):
        return f"{kind.__name__}.train returns None, so `model = model.train()` loses the model."
    return None


def _returns_nothing(function: Callable) -> bool:
    """Say whether every `return` of a function gives None."""
    steps = [step for step in dis.get_instructions(function) if step.opname not in ("RESUME", "NOP", "CACHE")]
    for before, step in zip([None, *steps], steps, strict=False):
        if step.opname == "RETURN_VALUE" and not (before and before.opname == "LOAD_CONST" and before.argval is None):
            return False
        if step.opname == "RETURN_CONST" and step.argval is not None:
            return False
    return True


def hook_key(hook: Callable) -> Hashable:
    """Return what two registrations of one function have in common, and two functions have not."""
    if isinstance(hook, partial):
        given = (*map(id, hook.args), *sorted((key, id(value)) for key, value in hook.keywords.items()))
        return (hook_key(hook.func), given)
    code = getattr(hook, "__code__", None)
    if code is None:
        return id(hook)
    held = tuple(id(cell.cell_contents) for cell in hook.__closure__ or () if _filled(cell))
    return (code, held, tuple(map(id, hook.__defaults__ or ())), id(getattr(hook, "__self__", None)))


def _filled(cell) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - an empty cell raises
    except ValueError:
        return False
    return True
