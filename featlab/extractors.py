"""Four folk ways to get features out of a model, behind one call, and their comparison on your own model."""

import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .activations import call, run_features
from .looks import in_eval, looking, refuses
from .selectors import Selector, every, names
from .structures import describe, leaves, map_leaves
from .tables import Table

WAYS = ("hook", "fx", "sequential", "identity")


class Extractor(nn.Module):
    """Return {name: feature} for an input; made by `extractor`.

    Shares its parameters with the model it was made from. A deep copy, or what is pickled and loaded, is made anew from
    a copy of that model, and shares nothing.
    """

    def __init__(self, model: nn.Module, asked: list[str], way: str, mode: str | None):
        super().__init__()
        self.names, self.way, self.mode = asked, way, mode
        self._made_from = (model,)  # in a tuple, so that it is not one of our submodules
        self.net = _BUILDERS[way](model, asked, mode)
        self.training = model.training

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if self.mode is None:
            return self.net(*args, **kwargs)
        with in_eval(self.net):
            return self.net(*args, **kwargs)

    def __reduce__(self):
        # the net is made anew; what else was set or put in goes along
        own = self.__getstate__()
        made_from, own["_modules"] = own.pop("_made_from"), {k: m for k, m in self._modules.items() if k != "net"}
        flags = [module.training for module in self.net.modules()]
        return Extractor, (*made_from, self.names, self.way, self.mode), (own, flags)

    def __setstate__(self, state: tuple[dict, list[bool]]) -> None:
        own, flags = state
        own["_modules"] = {"net": self.net, **own["_modules"]}
        vars(self).update(own)
        if self.way == "fx":  # it has a graph for each mode, and only train() takes the other
            self.net.train(flags[0])
        for module, training in zip(self.net.modules(), flags, strict=True):
            module.training = training


def extractor(model: nn.Module, selector: Selector, *, way: str = "hook", mode: str | None = None) -> Extractor:
    """Return a module that gives the features of the selected submodules as a dict.

    Args:
        selector: as in `names`; "sequential" and "identity" take one name only.
        way: "hook" runs the model and stops when it has what was asked; "fx" is torchvision's
            `create_feature_extractor`; "sequential" chains the children up to the name; "identity" puts nn.Identity in
            the place of all that is registered after the name.
        mode: "eval" runs in eval mode and puts each flag back; None runs as is.

    The model keeps its submodules, hooks and modes. The extractor shares its parameters: what trains one trains both.
    `.train()` and `.eval()` of the extractor switch the submodules it shares with the model; mode="eval" does not.

    Raises:
        UnknownName: the selector fits no submodule.
        ValueError: the way is unknown, or cannot give what was asked; the message says why.

    Claims: X1, X2, X3, X8, X9.
    """
    if way not in WAYS:
        raise ValueError(f"way is one of {', '.join(WAYS)}; this is {way!r}.")
    if mode not in (None, "eval"):
        raise ValueError(f"mode is None (run as is) or 'eval'; this is {mode!r}.")
    return Extractor(model, names(model, selector), way, mode)


class _ByHook(nn.Module):
    def __init__(self, model: nn.Module, asked: list[str]):
        super().__init__()
        self.model, self.asked = model, asked

    def forward(self, *args, **kwargs):
        return run_features(self.model, args, kwargs, self.asked, mode=None, copy=True, warn=False)


class _Named(nn.Module):
    """Run a network whose output is the one feature."""

    def __init__(self, net: nn.Module, name: str):
        super().__init__()
        self.net, self.name = net, name

    def forward(self, *args, **kwargs):
        return {self.name: self.net(*args, **kwargs)}


def _hook(model: nn.Module, asked: list[str], mode: str | None) -> nn.Module:
    return _ByHook(model, asked)


def _fx(model: nn.Module, asked: list[str], mode: str | None) -> nn.Module:
    from torchvision.models.feature_extraction import create_feature_extractor

    hooked = [name for name, m in model.named_modules() if m._modules and (m._forward_hooks or m._forward_pre_hooks)]
    if hooked:
        where = ", ".join(repr(name or "the model") for name in hooked[:3])
        raise ValueError(
            f"fx would call the hooks on {where} once, while it builds, with stand-ins for tensors, and never again. "
            "Remove them first, or take way='hook'."
        )
    # it leaves everything in the root's mode, and in train mode when it fails
    with looking(model):
        net = create_feature_extractor(model, asked, suppress_diff_warning=True)
        # train() would change to a graph whose functions, such as F.dropout, are fixed in train mode
        return torch.fx.GraphModule(net, net.eval_graph) if mode == "eval" else net.train(model.training)


def _sequential(model: nn.Module, asked: list[str], mode: str | None) -> nn.Module:
    name = _only(asked, "sequential")
    steps, module = [], model
    for part in name.split("."):
        for key, child in module.named_children():
            if key == part:
                break
            steps.append(child)
        module = module._modules[part]
    return _Named(nn.Sequential(*steps, module), name)


def _identity(model: nn.Module, asked: list[str], mode: str | None) -> nn.Module:
    name = _only(asked, "identity")

    def twin(module: nn.Module, path: list[str]) -> nn.Module:
        """Return a copy of the module itself that shares all below it, with Identity after the path."""
        copied = copy.copy(module)
        children = vars(copied)["_modules"] = dict(module._modules)
        keys = list(children)
        for later in keys[keys.index(path[0]) + 1 :]:
            if children[later] is not None:
                children[later] = nn.Identity()
        if len(path) > 1:
            children[path[0]] = twin(children[path[0]], path[1:])
        return copied

    return _Named(twin(model, name.split(".")), name)


_BUILDERS: dict[str, Callable] = {"hook": _hook, "fx": _fx, "sequential": _sequential, "identity": _identity}


def _only(asked: list[str], way: str) -> str:
    if len(asked) > 1:
        raise ValueError(f"way='{way}' gives one feature; {len(asked)} were asked: {', '.join(asked[:4])}. Use 'hook'.")
    return asked[0]


def compare_ways(model: nn.Module, x: Any, selector: Selector, *, rounds: int = 5) -> Table:
    """Make an extractor each way on your own model, and say how each one does.

    Args:
        x: as in `features`. It is cloned for each call.
        rounds: how many calls the time of a call is the median of.

    Returns:
        A Table with a row per way: did it work, are the values those that the model computes, milliseconds to build and
        to call, how many modules of the model it shares, and how many `.eval()` of the extractor would switch.

    The model, its statistics and the random numbers are left as they are.

    Raises:
        UnknownName: the selector fits no submodule.
        ValueError: the model has lazy submodules, which a call would set.
        Exception: whatever the model raises; what a way raises stands in its row.

    Claims: X3, X5, X6, X10.
    """
    asked = names(model, selector)
    if refusal := refuses(model):
        raise ValueError(refusal)
    with looking(model):
        expected = call(_ByHook(model, asked), _clone(x))
    rows = [_row(model, x, asked, way, expected, rounds) for way in WAYS]
    caption = f"{', '.join(asked)} of {type(model).__name__}, which has {len(every(model))} modules"
    return Table(rows, caption=caption)


def _row(model: nn.Module, x: Any, asked: list[str], way: str, expected: dict, rounds: int) -> dict:
    row = {"way": way, "worked": "no", "values": None, "build ms": None, "call ms": None, "shared": None, "flips": None}
    mine = {id(module) for module in every(model)}
    try:
        with looking(model):
            start = time.perf_counter()
            made = extractor(model, asked, way=way)
            row["build ms"] = round(1e3 * (time.perf_counter() - start), 1)
            row["shared"] = sum(id(module) in mine for module in every(made))
            row["flips"] = _flips(model, made)
        with looking(model):
            row["values"] = _verdict(call(made, _clone(x)), expected)
        row["call ms"] = round(_median_ms(model, made, x, rounds), 1)
        row["worked"] = "yes"
    except Exception as error:  # the user's model may raise anything; the row says what
        row["values"] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:120]
    return row


def _flips(model: nn.Module, made: nn.Module) -> int:
    """Count the model's modules that `.eval()` of the extractor would switch, by doing it and putting it back."""
    with looking(model):
        before = [(module, module.training) for module in every(model)]
        made_flags = [(module, module.training) for module in every(made)]
        made.eval()
        switched = sum(module.training != training for module, training in before)
        for module, training in made_flags:
            module.training = training
    return switched


def _median_ms(model: nn.Module, made: nn.Module, x: Any, rounds: int) -> float:
    times = []
    for _ in range(rounds):
        given = _clone(x)
        with looking(model), torch.no_grad():
            _wait(given)
            start = time.perf_counter()
            call(made, given)
            _wait(given)
            times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def _wait(x: Any) -> None:
    """Let a GPU finish, so that a time is that of the work and not of its launch."""
    if any(tensor.is_cuda for tensor in leaves(Tensor, x)):
        torch.cuda.synchronize()


def _clone(x: Any) -> Any:
    return map_leaves(Tensor, lambda tensor: tensor.detach().clone(), x)


def _numbers(tensor: Tensor) -> Tensor:
    """Return the values as a dense tensor whose numbers can be subtracted."""
    if tensor.is_nested:
        return torch.cat([_numbers(part).flatten() for part in tensor.unbind()])
    if tensor.is_quantized:
        return tensor.dequantize()
    dense = tensor if tensor.layout == torch.strided else tensor.to_dense()
    return dense if dense.is_complex() or dense.dtype == torch.float64 else dense.float()


def _verdict(got: dict, expected: dict) -> str:
    for name, value in expected.items():
        for mine, theirs in zip(leaves(Tensor, got[name]), leaves(Tensor, value), strict=False):
            if mine.dtype != theirs.dtype:
                return f"no: {describe(mine)} not {describe(theirs)}"
            ours, right = _numbers(mine), _numbers(theirs)
            if ours.shape != right.shape:
                same = ours.numel() == right.numel() and torch.allclose(ours.flatten(), right.flatten())
                return f"{'same numbers, ' if same else 'no: '}shape {tuple(ours.shape)} not {tuple(right.shape)}"
            if not torch.allclose(ours, right, equal_nan=True):
                return f"no: max |Δ| {(ours - right).abs().max():.3g}"
        if describe(got[name]) != describe(value):
            return f"no: {describe(got[name])} not {describe(value)}"
    return "same"
