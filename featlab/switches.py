"""The mode of each submodule: read it, change it for a while, put it back."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

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
    """Return the mode of the model ("") and of each submodule, each by its own flag."""
    check_module(model)
    return Modes({name: "train" if module.training else "eval" for name, module in model.named_modules()})


@contextmanager
def evaluating(model: nn.Module):
    """Run the block with every submodule in eval mode; afterwards each has its own flag back.

    Sets the flags themselves and calls neither `train` nor `eval`, which a model may have overridden.
    """
    check_module(model)
    found = [(module, module.training) for module in model.modules()]
    try:
        for module, training in found:
            if training:
                module.training = False
        yield model
    finally:
        for module, training in found:
            if module.training != training:
                module.training = training
