"""Capture what submodules return. The only room that sets hooks."""

import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from .absences import NeverRan, why_never
from .looks import in_eval, modes_of, put_modes, turns
from .selectors import Selector, check_module, every, find, holds, names
from .structures import describe, map_leaves


class Inputs(tuple):
    """The positional arguments of one call; its keyword arguments are in `.kwargs`."""

    kwargs: dict[str, Any]


class Seen(Mapping):
    """What the captured submodules returned: name -> value, in the order of the calls.

    The first call of `relu` is "relu", its second "relu_1", as torchvision names them; where the model has a submodule
    "relu_1" of its own, the next free number is taken. `.inputs` and `.grads` use the same names.
    """

    def __init__(self, model: nn.Module):
        self._model = model
        self._kept: dict[str, Any] = {}
        self.inputs: dict[str, Inputs] = {}
        self.grads: dict[str, Any] = _Grads()

    def __getitem__(self, name: str) -> Any:
        if name not in self._kept:
            raise NeverRan(why_never(self._model, name))
        return self._kept[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def __repr__(self) -> str:
        width = max(map(len, self._kept), default=0)
        lines = [f"{name:<{width}}  {describe(value)}" for name, value in self._kept.items()]
        return "\n".join(lines) or "nothing captured yet: call the model inside the block"


class _Grads(dict):
    def __missing__(self, name: str):
        raise NeverRan(
            f"no gradient for '{name}'. Ask with grads=True, and call backward() inside the block. None comes to what "
            "the loss does not use, to what ran without recording (no_grad), and to a view (flatten) that was written "
            "in place afterwards: torch keeps no gradient of what stood there before."
        )


class _Enough(BaseException):
    """End a forward from inside a hook, with what was found as its argument.

    Not an Exception, so that a model's own `except Exception` lets it pass.
    """


@contextmanager
def capture(
    model: nn.Module,
    selector: Selector,
    *,
    inputs: bool = False,
    grads: bool = False,
    copy: bool = True,
    detach: bool = False,
    to: torch.device | str | None = None,
):
    """Keep what the selected submodules return while the block runs.

        with fl.capture(net, "layer?") as seen:
            net(x)
        seen["layer2"]  # (N, C, H, W)

    Args:
        selector: as in `names`; also one repeat, such as "layer1.0.relu_1" for the second call of layer1.0.relu.
        inputs: keep in `seen.inputs` what each call was given, as it was before the forward.
        grads: keep in `seen.grads` the gradient of each output; call `backward` inside the block. Of several backward
            passes the last one counts.
        copy: clone every tensor, so that no later in-place operation changes what was kept.
        detach: cut what is kept from the graph, so that it keeps no graph alive.
        to: the device to keep the values on.

    Yields:
        Seen: name -> what the submodule returned, its structure kept (tuple, list, dict, dataclass, NamedTuple).
        Only calls made by the thread that opened the block are kept.

    Raises:
        UnknownName: the selector fits no submodule.
        NeverRan: (from `seen[name]`) the submodule was not called.

    Claims: H5, H6, H7, H13.
    """
    groups = _resolve(model, selector)
    seen = Seen(model)

    def keep(value: Any) -> Any:
        return map_leaves(Tensor, lambda tensor: _safe(tensor, copy, detach, to), value)

    def on_call(labels: list[str], output: Any, given: Inputs | None) -> None:
        value = keep(output)
        for label in labels:
            seen._kept[label] = value
            if inputs:
                seen.inputs[label] = given
        if grads:
            _keep_gradients(output, labels, seen.grads, keep, stack)

    with ExitStack() as stack:
        _run_eagerly(model, stack)
        for module, wanted in groups:
            _listen(model, module, wanted, on_call, stack, keep_input=keep if inputs else None)
        yield seen


def features(
    model: nn.Module, x: Any, selector: Selector, *, mode: str | None = None, copy: bool = True
) -> dict[str, Any]:
    """Return what the selected submodules return for x, and run the model no further than that takes.

    Args:
        x: a tensor, a tuple of positional arguments or a dict of keyword arguments.
        selector: as in `capture`; a name means the first call of that submodule.
        mode: "eval" runs in eval mode and puts each submodule's flag back; None runs as is, and warns when that moves
            BatchNorm statistics.
        copy: as in `capture`.

    Returns:
        name -> value, in the order of the calls.

    Raises:
        UnknownName: the selector fits no submodule.
        NeverRan: the forward ended without calling one of them.

    Claims: H10, H11, X4.
    """
    args, kwargs = arguments(x)
    return run_features(model, args, kwargs, selector, mode=mode, copy=copy)


def run_features(
    model: nn.Module, args: tuple, kwargs: dict, selector: Selector, *, mode: str | None, copy: bool, warn: bool = True
) -> dict[str, Any]:
    """Do the work of `features`, for callers that have the arguments apart."""
    if mode not in (None, "eval"):
        raise ValueError(f"mode is None (run as is) or 'eval'; this is {mode!r}.")
    groups = _resolve(model, selector)
    asked = [name for _, wanted in groups for name in wanted]
    found: dict[str, Any] = {}
    modules, recording = every(model), torch.is_grad_enabled()
    modes = modes_of(modules)

    def on_call(labels: list[str], output: Any, given: None) -> None:
        fresh = [label for label in labels if label in asked and label not in found]
        if fresh:
            value = map_leaves(Tensor, lambda tensor: _safe(tensor, copy), output)
            found.update(dict.fromkeys(fresh, value))
            if len(found) == len(asked):
                raise _Enough(found)

    with ExitStack() as stack:
        if mode == "eval":
            stack.enter_context(in_eval(model))
        elif warn:
            stack.enter_context(_warning_of_moving_statistics(modules))
        _run_eagerly(model, stack)
        for module, wanted in groups:
            _listen(model, module, wanted, on_call, stack)
        try:
            model(*args, **kwargs)
        except _Enough as enough:
            if enough.args[0] is not found:  # it ends a forward around this one, of a model that holds an extractor
                raise
            # a forward that switches for a while was cut off before it could switch back
            torch.set_grad_enabled(recording)
            put_modes(modules, modes)
    for name in asked:
        if name not in found:
            raise NeverRan(why_never(model, name))
    return found


def call(model: nn.Module, x: Any) -> Any:
    """Call a model with a tensor, a tuple of positional or a dict of keyword arguments."""
    args, kwargs = arguments(x)
    return model(*args, **kwargs)


def arguments(x: Any) -> tuple[tuple, dict]:
    """Return the positional and the keyword arguments that an input stands for."""
    if isinstance(x, Mapping):
        return (), dict(x)
    return (x if type(x) is tuple else (x,)), {}


@contextmanager
def shapes(model: nn.Module):
    """Note in words what every submodule is given and returns while the block runs; keep no tensor.

    Yields:
        submodule -> one (given, returned) for each call, such as ("(8, 3, 32, 32) float32", "(8, 64, 32, 32) float32").
        Only calls made by the thread that opened the block are noted; those before an exception stay.
    """
    _check_runs_here(model)
    thread, seen, words, handles = threading.get_ident(), {}, {}, []

    def word(value: Any) -> str:
        if type(value) is not Tensor or value.is_nested:
            return describe(value)
        key = (value.shape, value.dtype)
        return words.get(key) or words.setdefault(key, describe(value))

    def note(module, args, *rest):
        # a hook removed while another thread is calling it gets no kwargs any more
        if threading.get_ident() == thread:
            kwargs, output = rest
            given = ", ".join([word(value) for value in (*args, *kwargs.values())])
            seen.setdefault(module, []).append((given, word(output)))

    with ExitStack() as stack:
        _run_eagerly(model, stack)
        stack.callback(lambda: [handle.remove() for handle in handles])
        for module in every(model):
            with suppress(RuntimeError):  # TorchScript takes no hooks
                handles.append(module.register_forward_hook(note, with_kwargs=True))
        yield seen


def labels(model: nn.Module, name: str) -> Iterator[str]:
    """Yield what the calls of one submodule are named in turn: "relu", "relu_1", ...; never a submodule's own name."""
    yield name
    yield from (label for number in count(1) if not holds(model, label := f"{name}_{number}"))


def _check_runs_here(model: nn.Module) -> None:
    check_module(model)
    if isinstance(model, nn.DataParallel) and len(model.device_ids) > 1:
        raise ValueError("nn.DataParallel runs copies of the model on several GPUs at once. Give model.module instead.")


def _resolve(model: nn.Module, selector: Selector) -> list[tuple[nn.Module, list[str]]]:
    """Return each selected submodule with the names it was asked by, repeats ("relu_1") among them."""
    _check_runs_here(model)
    parts = [selector] if isinstance(selector, str | type) else selector
    repeats = {}
    if isinstance(parts, list | tuple):
        for part in parts:
            repeat = isinstance(part, str) and not holds(model, part) and re.fullmatch(r"(.+)_[1-9]\d*", part)
            if repeat and holds(model, repeat[1]):
                repeats[part] = repeat[1]
        parts = [part for part in parts if not (isinstance(part, str) and part in repeats)]
    plain = names(model, parts) if parts or not repeats else []
    groups: dict[int, tuple[nn.Module, list[str]]] = {}  # by id, because modules may say that they are equal
    for name, base in [*((name, name) for name in plain), *repeats.items()]:
        module = find(model, base)
        if isinstance(module, torch.jit.RecursiveScriptModule):
            raise ValueError(f"'{base}' is TorchScript, which takes no hooks. Give the model from before scripting.")
        groups.setdefault(id(module), (module, []))[1].append(name)
    return list(groups.values())


def _listen(
    model: nn.Module,
    module: nn.Module,
    wanted: list[str],
    on_call: Callable,
    stack: ExitStack,
    *,
    keep_input: Callable | None = None,
) -> None:
    """Hook one submodule until the stack closes, and pass each of its calls on with its labels."""
    thread, given = threading.get_ident(), []
    bases = list(dict.fromkeys(name if holds(model, name) else name.rpartition("_")[0] for name in wanted))
    calls = {base: labels(model, base) for base in bases}

    def ours(called: nn.Module) -> bool:
        """Say whether it is our thread's call, and not that of a copy made meanwhile, which has our hooks too."""
        return called is module and threading.get_ident() == thread

    def before(called, args, *rest):
        if ours(called):
            (kwargs,) = rest
            kept = Inputs(keep_input(args))
            kept.kwargs = keep_input(kwargs)
            given.append((kwargs, kept))

    def after(called, args, output, kept=None):
        if not ours(called):
            return
        # a name asks for each call, a repeat for its own only
        fitting = [label for base in bases if (label := next(calls[base])) in wanted or base in wanted]
        if fitting:
            on_call(fitting, output, kept)

    def after_with_input(called, args, *rest):
        # a hook removed while another thread is calling it gets no kwargs any more
        if not ours(called):
            return
        kwargs, output = rest
        # calls that raised have left theirs on top; a later hook of the user's may have made other kwargs
        at = next((at for at in reversed(range(len(given))) if given[at][0] is kwargs), -1)
        kept = given[at][1] if given else None
        del given[at:]
        after(called, args, output, kept)

    if keep_input:
        stack.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
        stack.callback(module.register_forward_hook(after_with_input, with_kwargs=True).remove)
    else:
        stack.callback(module.register_forward_hook(after).remove)


def _safe(tensor: Tensor, copy: bool, detach: bool = False, to: torch.device | str | None = None) -> Tensor:
    kept = tensor.detach() if detach else tensor
    moved = kept.to(to) if to is not None else kept
    # .to() has copied already where the device changed
    return moved.clone() if copy and (moved is kept or moved.device == tensor.device) else moved


def _keep_gradients(output: Any, labels: list[str], grads: dict, keep: Callable, stack: ExitStack) -> None:
    """Fill grads[label] with the gradient of each tensor of the output, in the output's structure."""

    def place(tensor: Tensor) -> "_Place":
        mine = _Place()
        if tensor.requires_grad:
            # after a write into a view or its base, gradients go round the node that the view had until then
            view = tensor.detach() if tensor._is_view() else None
            version = tensor._version

            def arrived(gradient: Tensor) -> None:
                if view is not None and view._version != version:
                    return
                mine.value = keep(gradient)
                for label in labels:
                    grads[label] = map_leaves(_Place, lambda each: each.value, places)

            # set before any in-place operation that follows, so torch gives the gradient of the value seen here
            stack.callback(tensor.register_hook(arrived).remove)
        return mine

    places = map_leaves(Tensor, place, output)


class _Place:
    value: Tensor | None = None


def _run_eagerly(model: nn.Module, stack: ExitStack) -> None:
    """Let a compiled model run uncompiled meanwhile: what was compiled before a hook was set does not call it."""
    if "torch._dynamo" in sys.modules and any(map(_is_compiled, every(model))):
        stack.enter_context(turns)
        stack.enter_context(torch.compiler.set_stance("force_eager"))


def _is_compiled(module: nn.Module) -> bool:
    return module._compiled_call_impl is not None or type(module).__name__ == "OptimizedModule"


@contextmanager
def _warning_of_moving_statistics(modules: list[nn.Module]):
    norms = [m for m in modules if isinstance(m, _NormBase) and m.training]
    counters = [m.num_batches_tracked for m in norms if m.num_batches_tracked is not None]
    counters = [counter for counter in counters if not counter.is_inference()]
    before = [counter._version for counter in counters]
    yield
    moved = sum(counter._version != version for counter, version in zip(counters, before, strict=True))
    if moved:
        text = f"features() ran as is, in train mode, and moved the running statistics of {moved} BatchNorm layers"
        # the frames between: this generator, contextlib, ExitStack, run_features, features
        warnings.warn(f'{text}; mode="eval" would not.', stacklevel=6)
