"""Mode and `requires_grad` of each submodule: read, keep for a while, put back, freeze for real."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from .selectors import check_module


class Modes(Mapping):
    """The mode of each submodule at one moment: name -> "train" or "eval"; the model itself is ""."""

    def __init__(self, modes: dict[str, str]):
        self._modes = modes

    def __getitem__(self, name: str) -> str:
        return self._modes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._modes)

    def __len__(self) -> int:
        return len(self._modes)

    @property
    def summary(self) -> str:
        """The state in words, such as "all 68 eval" or "mixed: 42 train, 26 eval"."""
        count = Counter(self._modes.values())
        if len(count) == 1:
            return f"all {len(self)} {next(iter(count))}"
        return f"mixed: {count['train']} train, {count['eval']} eval"

    def __repr__(self) -> str:
        width = max(map(len, self._modes))
        return "\n".join([self.summary, *(f"{name or '(root)':<{width}}  {mode}" for name, mode in self.items())])


def modes(model: nn.Module) -> Modes:
    """Return the mode of the model ("") and of each submodule, each by its own flag.

    Claims: M1, M6, M11.
    """
    check_module(model)
    return Modes({name: "train" if module.training else "eval" for name, module in model.named_modules()})


@contextmanager
def evaluating(model: nn.Module):
    """Run the block with every submodule in eval mode; afterwards each has its own flag back.

    Sets the flags themselves and calls neither `train` nor `eval`, which a model may have overridden. What the block
    froze stays in eval, and has its flag back when it is unfrozen.

    Claims: M11.
    """
    check_module(model)
    found = [(module, module.training, _mark_of(module)) for module in model.modules()]
    try:
        for module, training, _ in found:
            if training:
                module.training = False
        yield model
    finally:
        for module, training, mark in found:
            now = _mark_of(module)
            if now is not None and now is not mark:
                now.training |= training
            elif module.training != training:
                module.training = training


def freeze(module: nn.Module) -> nn.Module:
    """Keep a module's parameters, running statistics and mode where they are, and return the module.

    Sets it and everything below it to eval, `requires_grad` to False and `grad` to None: a gradient left from an
    earlier step would still move the parameter at the next one. From then on `train()` and `eval()`, called here or on
    a parent, change no mode in it. Copies, pickles and files of `torch.save` stay frozen (loading one needs featlab), a
    loaded state_dict brings its values and nothing else, and the class stays what it was. Freezing twice is harmless.

    What is put into a frozen module later, such as a new head, is not frozen and follows `train()`; `unfreeze` of a
    part thaws that part. A parameter that another module shares is frozen there too. Not held: `requires_grad_(True)`
    (it learns again), `training` assigned by hand (until the next `train()` call), values written by hand,
    `torch.optim.LBFGS` (it moves parameters without a gradient), and the mode of an fx GraphModule itself once copied.

    Raises:
        TypeError: a part of it is TorchScript, whose modules cannot carry the mark.

    Claims: F1, F4, F7, F9, M10.
    """
    check_module(module)
    for name, submodule in module.named_modules():
        if isinstance(submodule, torch.jit.ScriptModule):
            raise TypeError(
                f"{name or type(submodule).__name__} is a TorchScript module, which cannot carry the mark of freeze. "
                "Freeze the model before torch.jit.script or torch.jit.trace, or keep it in eval by torch.jit.freeze."
            )
    found = [(submodule, submodule.training, _learnable(submodule)) for submodule in module.modules()]
    _set_modes({submodule: False for submodule, *_ in found})
    for submodule, training, learnable in found:
        mark = _mark_of(submodule)
        if mark is None:
            mark = vars(submodule)["train"] = Mark(submodule, vars(submodule).get("train"))
        mark.training |= training
        mark.learnable |= learnable
    for parameter in module.parameters():
        parameter.grad = None
        # assigned, because a lazy parameter knows no requires_grad_()
        parameter.requires_grad = False
    return module


def unfreeze(module: nn.Module) -> nn.Module:
    """Give back what `freeze` took from a module and everything below it, and return the module.

    Each submodule has its mode again and each parameter its `requires_grad`, as `freeze` found them: a parameter that
    was frozen by hand before stays frozen. Gradients do not come back. A module that is not frozen stays as it is.
    """
    check_module(module)
    marks = {submodule: mark for submodule in module.modules() if (mark := _mark_of(submodule))}
    wanted = {submodule: submodule.training for submodule in module.modules()}
    for submodule, mark in marks.items():
        wanted[submodule] = mark.training
        del vars(submodule)["train"]
        if mark.found is not None:
            vars(submodule)["train"] = mark.found
        for key in mark.learnable:
            if submodule._parameters.get(key) is not None:
                submodule._parameters[key].requires_grad = True
    _set_modes(wanted)
    return module


def is_frozen(module: nn.Module) -> bool:
    """Say whether `freeze` holds this module itself."""
    return _mark_of(module) is not None


@dataclass(eq=False)
class Mark:
    """What `freeze` leaves on a submodule: it answers in place of `train` and remembers what was taken.

    It lies in the module's own `__dict__`, so it is copied and stored with it, and it refers to the module as a bound
    method does, so the copy's mark refers to the copy.
    """

    module: nn.Module = field(repr=False)
    found: object = field(default=None, repr=False)  # a `train` of the module's own, set on the instance
    training: bool = False
    learnable: set[str] = field(default_factory=set)

    def __call__(self, mode: bool = True) -> nn.Module:
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.module.training = False
        # frozen children answer with their own mark; others follow, as a new head must
        for child in self.module.children():
            child.train(mode)
        return self.module


def _mark_of(module: nn.Module) -> Mark | None:
    mark = vars(module).get("train")
    return mark if isinstance(mark, Mark) else None


def _learnable(module: nn.Module) -> set[str]:
    return {key for key, parameter in module._parameters.items() if parameter is not None and parameter.requires_grad}


def _set_modes(wanted: dict[nn.Module, bool]) -> None:
    """Set each mode by the module's own `train`, which may do more than set a flag, then make sure of the flags."""
    for module, training in wanted.items():
        if module.training != training:
            module.train(training)
    for module, training in wanted.items():
        if module.training != training:
            module.training = training
