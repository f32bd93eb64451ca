"""What a model and its optimizer hold at one moment: modes, hooks, tensors, submodules, groups and state."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from torch.optim import Optimizer

from .selectors import walk
from .switches import is_frozen

_MODULE_HOOKS = (
    *("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks"),
    *("_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks"),
)
_TENSOR_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")


@dataclass(frozen=True)
class Snapshot:
    """A model at one moment. A submodule or tensor with several names stands under its first, save in `modules`."""

    modules: dict[str, nn.Module]
    modes: dict[str, str]
    frozen: dict[str, bool]
    hooks: dict[str, dict[tuple, object]]
    parameters: dict[str, nn.Parameter]
    buffers: dict[str, Tensor]
    tensors: dict[str, Tensor]  # both
    requires_grad: dict[str, bool]
    kept: dict[str, object]  # name of a parameter or buffer -> what `keep` made of it
    groups: dict[str, dict]  # "group 0" -> its options
    places: dict[str, str]  # name of a parameter -> "group 0"
    state: dict[str, object]  # "fc.weight: exp_avg" -> what `keep` made of it, or the value itself


def snapshot(model: nn.Module, optimizer: Optimizer | None, keep: Callable[[Tensor], object]) -> Snapshot:
    """Return what the model and the optimizer hold now; of each tensor's values, what `keep` makes of them."""
    modules = dict(model.named_modules())
    parameters, buffers = dict(_members(modules, "_parameters")), dict(_members(modules, "_buffers"))
    groups, state = (optimizer.param_groups, optimizer.state) if optimizer else ([], {})
    learned = dict(_learned(groups, {id(parameter): name for name, parameter in parameters.items()}))
    # state of a parameter that has left every group keeps its number only
    state = {learned.get(id(key), (f"state {number}",))[0]: item for number, (key, item) in enumerate(state.items())}
    return Snapshot(
        modules=dict(walk(model)),
        modes={name: "train" if module.training else "eval" for name, module in modules.items()},
        frozen={name: is_frozen(module) for name, module in modules.items()},
        hooks={name: dict(_hooks(owner)) for name, owner in {**parameters, **modules}.items()},
        parameters=parameters,
        buffers=buffers,
        tensors={**parameters, **buffers},
        requires_grad={name: parameter.requires_grad for name, parameter in parameters.items()},
        kept={name: keep(tensor) for name, tensor in {**parameters, **buffers}.items()},
        groups={f"group {number}": _options(group) for number, group in enumerate(groups)},
        places=dict(learned.values()),
        state={name: keep(value) if isinstance(value, Tensor) else value for name, value in _leaves("", state)},
    )


def _members(modules: dict[str, nn.Module], kind: str) -> Iterator[tuple[str, Tensor]]:
    """Yield each tensor of a kind by its first name, as `named_parameters` does, from modules that are known."""
    seen = {id(None)}
    for name, module in modules.items():
        prefix = name and f"{name}."
        for key, tensor in getattr(module, kind).items():
            if id(tensor) not in seen:
                seen.add(id(tensor))
                yield prefix + key, tensor


def _hooks(owner: nn.Module | nn.Parameter) -> Iterator[tuple[tuple, object]]:
    kinds, held = _TENSOR_HOOKS, None
    if isinstance(owner, nn.Module):
        kinds, held = _MODULE_HOOKS, vars(owner)
    for kind in kinds:
        # a tensor without hooks has None there
        hooks = held.get(kind) if held is not None else getattr(owner, kind)
        for number, hook in (hooks or {}).items():
            yield (kind.strip("_").removesuffix("_hooks"), number), hook


def _options(group: dict) -> dict:
    """Return a group's options as values that stay: a learning rate that is a tensor as its number."""
    return {
        key: value.item() if isinstance(value, Tensor) and value.numel() == 1 else copy.deepcopy(value)
        for key, value in group.items()
        if key != "params"
    }


def _learned(groups: list[dict], names: dict[int, str]) -> Iterator[tuple[int, tuple[str, str]]]:
    """Yield id -> (name, group) of each parameter of the optimizer; a stranger to the model is named by its place."""
    for number, group in enumerate(groups):
        for place, parameter in enumerate(group["params"]):
            name = names.get(id(parameter), f"parameter {place} of group {number}, not in the model")
            yield id(parameter), (name, f"group {number}")


def _leaves(name: str, value: object) -> Iterator[tuple[str, object]]:
    """Yield every leaf of the optimizer's state by its path, such as "fc.weight: exp_avg"."""
    if isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _leaves(f"{name}: {key}" if name else str(key), item)
    else:
        yield name, value
