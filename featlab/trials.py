"""What only running shows: the model is run in eval, three times, and left as found."""

import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from .activations import arguments
from .looks import looking, refuses
from .scenes import Scene, drops, keeps_statistics
from .states import same
from .structures import leaves, map_leaves
from .switches import evaluating

_DROPOUTS = {F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout}
_ONE_VALUE = "Expected more than 1 value per channel"

TRIALS: dict[str, tuple[str, str, Callable]] = {}


def trial(severity: str, meaning: str) -> Callable:
    """Register a function as the running rule whose code is its name; it yields where, evidence and remedy."""

    def register(look: Callable) -> Callable:
        TRIALS[look.__name__.replace("_", "-")] = (severity, meaning, look)
        return look

    return register


class Trial:
    """A model run on x in eval: as it is, with other random numbers, and in other company.

    Attributes:
        made: class of each module that a forward made for itself -> the submodule in whose forward it ran.
        drew: the submodules in whose forward a dropout function was active.
        moved: buffers that an eval forward moved.
        varies: whether two runs differ.
        mates: whether the first sample's output depends on the others.
        single: the norm that refused a batch with one value per channel in train mode, or None.
    """

    def __init__(self, scene: Scene, x: Any):
        self.scene, self.model = scene, scene.model
        if said := refuses(self.model):
            raise ValueError(said)
        self.input = arguments(x)
        self.names = {id(place.module): place.name for place in reversed(scene.places)}

    def __enter__(self) -> "Trial":
        self.single = self._alone()
        first, met, self.drew, self.moved = self._run(seed=0)
        second, again, *_ = self._run(seed=1)
        self.varies = not same(first, second)
        lasting = {id(module) for module, _ in again}
        self.made = {
            type(module).__name__: where
            for module, where in met
            if id(module) not in lasting and id(module) not in self.scene.known and _matters(module)
        }
        self.mates = self._depends_on_mates(first)
        return self

    def __exit__(self, *error) -> None:
        pass

    def _run(self, *, seed: int, company: Callable = lambda tensor: tensor.clone()) -> tuple:
        """Run in eval; return output tensors, modules called with where, where dropout drew, and buffers that moved."""
        args, kwargs = map_leaves(Tensor, company, self.input)
        with looking(self.model), evaluating(self.model), torch.no_grad(), _Watch(self.names) as watch:
            before = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002 - the global one, which `looking` puts back
            try:
                output = self.model(*args, **kwargs)
            except Exception as error:
                said = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
                raise ValueError(f"The model raised on x in eval. {said} Give an input that it takes.") from error
            now = self.model.named_buffers()  # one that this forward registered has not moved
            moved = [name for name, buffer in now if name in before and not same(before[name], buffer)]
            found = [tensor.detach().clone() for tensor in leaves(Tensor, output)]
        return found, watch.met, watch.drew, moved

    def _batch(self) -> int:
        """Return how many samples x holds, by its first tensor with axes; 0 where it has none."""
        return next((tensor.shape[0] for tensor in leaves(Tensor, self.input) if tensor.ndim), 0)

    def _alone(self) -> str | None:
        if self._batch() != 1 or not any(place.module.training for place in self.scene.norms):
            return None
        args, kwargs = map_leaves(Tensor, torch.clone, self.input)
        with looking(self.model), torch.no_grad(), _Watch(self.names) as watch:
            try:
                self.model(*args, **kwargs)
            except Exception as error:  # only one kind is looked for here; the run in eval tells the others
                return watch.inside[-1] if _ONE_VALUE in str(error) and watch.inside else None
        return None

    def _depends_on_mates(self, first: list[Tensor]) -> bool:
        batch = self._batch()
        if batch < 2:
            return False

        def others(tensor: Tensor) -> Tensor:
            tensor = tensor.clone()
            if tensor.ndim and tensor.shape[0] == batch:
                tensor[1:] = 2 * tensor[:1] + 1 if tensor.is_floating_point() else tensor[:1]
            return tensor

        other, *_ = self._run(seed=0, company=others)
        pairs = zip(first, other, strict=False)
        return any(_far(a[0], b[0]) for a, b in pairs if a.ndim and a.shape == b.shape and a.shape[0] == batch)


@contextmanager
def holdings_kept(scene: Scene) -> Iterator[None]:
    """Put back, after the block, what each module holds: a forward may set attributes, register layers and hooks."""
    owns = [vars(place.module) for place in scene.places if not isinstance(place.module, torch.jit.ScriptModule)]
    kept = [(held, dict(held)) for own in owns for held in (own, *own.values()) if type(held) in (dict, OrderedDict)]
    try:
        yield
    finally:
        for held, before in kept:
            if held.keys() != before.keys() or any(held[key] is not value for key, value in before.items()):
                held.clear()
                held.update(before)


def _far(a: Tensor, b: Tensor) -> bool:
    """Say whether two results differ by more than rounding, which depends on the size of a batch."""
    if not a.is_floating_point() or not a.numel():
        return False
    a, b = a.float(), b.float()
    scale = a.abs().max().nan_to_num(0, 0, 0)
    return bool(((a - b).abs() > 1e-2 * scale + 1e-6).any())


def _matters(module: nn.Module) -> bool:
    norm = isinstance(module, nn.modules.batchnorm._NormBase)
    return norm or drops(module) or any(True for _ in module.parameters())


class _Watch(TorchFunctionMode):
    """Note, in this thread, which modules are called, inside which submodule, and where a dropout function draws."""

    def __init__(self, names: dict[int, str]):
        super().__init__()
        self.names, self.met, self.drew, self.inside = names, [], [], []
        self.thread, self.stack = threading.get_ident(), ExitStack()

    def __enter__(self):
        self.stack.callback(register_module_forward_pre_hook(self._enter).remove)
        self.stack.callback(register_module_forward_hook(self._leave).remove)
        return super().__enter__()

    def __exit__(self, *error):
        self.stack.close()
        return super().__exit__(*error)

    def _enter(self, module: nn.Module, args: tuple) -> None:
        if threading.get_ident() == self.thread:
            self.met.append((module, self.inside[-1] if self.inside else ""))
            self.inside.append(self.names.get(id(module), self.inside[-1] if self.inside else ""))

    def _leave(self, module: nn.Module, args: tuple, output: Any) -> None:
        if threading.get_ident() == self.thread and self.inside:
            self.inside.pop()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in _DROPOUTS:
            given = dict(zip(("input", "p", "training"), args, strict=False)) | kwargs
            active = given.get("training", True) and given.get("p", 0.5) > 0
        else:
            active = function is F.scaled_dot_product_attention and kwargs.get("dropout_p", 0) > 0
        if active and self.inside and not self._made_here():
            self.drew.append(self.inside[-1])
        return function(*args, **kwargs)

    def _made_here(self) -> bool:
        """Say whether a module that is not registered is running: then that is what is wrong."""
        return bool(self.met) and id(self.met[-1][0]) not in self.names and drops(self.met[-1][0])


@trial("warning", "It is new in each call: never trained, never saved, and always in train mode.")
def made_in_forward(trial: Trial) -> Iterator:
    for kind, where in trial.made.items():
        said = f"A {kind} is made in the forward of {where or 'the model'}."
        yield [where], said, f"# make the {kind} in __init__, and call it in forward"


@trial("warning", "The function cannot know the mode: it drops units in eval as well.")
def functional_dropout(trial: Trial) -> Iterator:
    if trial.drew:
        where = list(dict.fromkeys(trial.drew))
        said = "A dropout function is active in eval."
        yield where, said, "# write F.dropout(x, p, training=self.training), or make an nn.Dropout in __init__"


@trial("warning", "No result can be repeated.")
def random_in_eval(trial: Trial) -> Iterator:
    if trial.varies and not trial.drew and not trial.made:
        said = "In eval, two forwards of the same input differ."
        yield [""], said, "# draw random numbers only `if self.training:`"


@trial("warning", "The same input is answered differently in another batch, and one by one.")
def batch_mates_in_eval(trial: Trial) -> Iterator:
    static = any(
        isinstance(p.module, nn.modules.batchnorm._BatchNorm) and not keeps_statistics(p.module)
        for p in trial.scene.places
    )
    if trial.mates and not trial.made and not static:
        said = "In eval, the output for the first sample changes with the other samples of the batch."
        yield [""], said, "# normalise by running statistics in eval, or within each sample"


@trial("warning", "Every prediction changes the model.")
def statistics_move_in_eval(trial: Trial) -> Iterator:
    if trial.moved:
        said = f"An eval forward moves {len(trial.moved)} buffers."
        yield trial.moved, said, "# pass training=self.training to the function that updates them"


@trial("error", "BatchNorm cannot measure a spread of one value.")
def one_value_per_channel(trial: Trial) -> Iterator:
    if trial.single is not None:
        said = "In train mode this batch leaves one value per channel, and BatchNorm raises."
        yield [trial.single], said, "batches = torch.utils.data.DataLoader(data, batch_size=32, drop_last=True)"
