"""All that an audit judges, gathered in one walk: modules, modes, parameters, optimizers."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from .switches import is_frozen

_PLAIN = {bool, int, float, str, type(None), torch.dtype, torch.device, torch.Size}
_CONTAINERS = {list, tuple, dict, set}
_DRAWS = (_DropoutNd, nn.MultiheadAttention, nn.RNNBase, nn.RReLU)
_SWITCHES, _TRAIN = {"train", "eval", "requires_grad"}, nn.Module.train
# what every module has, and the list in which RNNs keep their parameters a second time
_TORCHS = {*vars(nn.Module()), "_flat_weights"}
# copies that an average over steps moves, not an optimizer: timm's, and torch's AveragedModel
_AVERAGES = ("AveragedModel", "ModelEma", "ModelEmaV2", "ModelEmaV3")
# layers of torchvision and timm that drop whole paths
_DROP_PATHS = {"StochasticDepth": "p", "DropPath": "drop_prob", "DropBlock2d": "p", "DropBlock3d": "p"}


def keeps_statistics(module: nn.Module) -> bool:
    """Say whether it is a norm with running statistics."""
    return isinstance(module, _NormBase) and module.running_mean is not None


def moves(module: nn.Module) -> bool:
    """Say whether a forward would move the running statistics of this norm."""
    return keeps_statistics(module) and module.training and module.track_running_stats and module.momentum != 0.0


def drops(module: nn.Module) -> bool:
    """Say whether it draws at random in train mode."""
    if isinstance(module, _DropoutNd):
        return module.p > 0
    if isinstance(module, (nn.MultiheadAttention, nn.RNNBase)):
        return module.dropout > 0
    if isinstance(module, nn.RReLU):
        return True
    rate = _DROP_PATHS.get(type(module).__name__)
    return rate is not None and bool(getattr(module, rate, 0))


def is_average(module: nn.Module) -> bool:
    """Say whether its parameters are averages of another model's, which no optimizer trains."""
    return type(module).__name__ in _AVERAGES


def _of_objects(value: list | tuple | dict | set) -> bool:
    """Say whether a container holds something else than numbers and strings, as its first few items tell."""
    items = islice(value.values() if type(value) is dict else value, 16)
    return any(type(one) not in _PLAIN for one in items)


@cache
def _family(kind: type) -> str:
    """Return what may be asked of the modules of a class: "norm", "drops", or "" for most."""
    if issubclass(kind, _NormBase):
        return "norm"
    return "drops" if issubclass(kind, _DRAWS) or kind.__name__ in _DROP_PATHS else ""


@dataclass(slots=True, eq=False)
class Place:
    """One submodule where it stands in the tree."""

    name: str
    module: nn.Module
    above: "Place | None"
    learns: int = 0  # parameters that require grad, here and below
    frozen: int = 0  # and those that do not
    before: "Place | None" = None  # of a norm: the layer with parameters registered before it

    def path(self) -> Iterator["Place"]:
        """Yield what it is a part of, from the nearest to the model itself."""
        place = self.above
        while place is not None:
            yield place
            place = place.above

    def numbers(self) -> int:
        """Return how many numbers the parameters here and below hold, tables of embeddings left out."""
        tables = (nn.Embedding, nn.EmbeddingBag)
        parts = (part for part in self.module.modules() if not isinstance(part, tables))
        held = (p for part in parts for p in part._parameters.values() if p is not None)
        return sum(p.numel() for p in held if not is_lazy(p))


class Scene:
    """A model and its optimizers; a submodule or parameter with several names stands under its first.

    Attributes:
        places: every submodule, the model itself first.
        leaves: those that hold parameters and have nothing below them.
        again: id of a submodule -> its further names.
        parameters: id -> first name, and the parameter.
        learnable: (name, parameter) of those that require grad.
        known: ids of all submodules.
        held: id of a parameter -> the numbers of the optimizers that hold it.
        listed: whether the optimizers were given as a list, so that code must say which one it means.
        norms, bare, droppers: layers with running statistics, BatchNorms without, layers that draw at random.
        attributes: (place, key, value) of what a module keeps beside its parameters, buffers and submodules, where it
            may hold some: tensors, and lists, tuples and dicts of objects.
        hooked: those with hooks.
        mixed: whether some are in train and some in eval.
        switches, labels: those with a `train`, `eval` or `training` of their own, with an attribute `requires_grad`.
    """

    def __init__(self, model: nn.Module, optimizers: list[Optimizer], *, listed: bool = False):
        self.model, self.optimizers, self.listed = model, optimizers, listed
        self.places, self.leaves, self.norms, self.bare, self.droppers = [], [], [], [], []
        self.hooked, self.switches, self.labels = [], [], []
        self.again: dict[int, list[str]] = {}
        self.parameters: dict[int, tuple[str, nn.Parameter]] = {}
        self.learnable: list[tuple[str, nn.Parameter]] = []
        self.known: set[int] = set()
        self.attributes: list[tuple[Place, str, object]] = []
        self._usual: dict[type, int] = {}
        self._around: dict[str, list[Place]] = {}
        self._walk()
        self.attributes.sort(key=lambda found: (found[0].name, found[1]))
        self.held: dict[int, tuple[int, ...]] = {}
        held = self.held
        for number, optimizer in enumerate(optimizers):
            alone = (number,)
            for group in optimizer.param_groups:
                for key in map(id, group["params"]):
                    held[key] = (*held[key], number) if key in held else alone

    def _walk(self) -> None:
        """Visit every submodule once; in one function of local names, because it is called in every epoch."""
        places, leaves, known, parameters = self.places, self.leaves, self.known, self.parameters
        last, usual, modes, learnable = None, self._usual, set(), self.learnable

        def visit(name: str, module: nn.Module, above: Place | None) -> Place:
            nonlocal last
            place = Place(name, module, above)
            places.append(place)
            known.add(id(module))
            own, kind, prefix = module.__dict__, type(module), name and name + "."
            family, learns, frozen = _family(kind), 0, 0
            for key, parameter in module._parameters.items():
                if parameter is None:
                    continue
                learning = parameter.requires_grad
                if id(parameter) not in parameters:
                    parameters[id(parameter)] = found = (prefix + key, parameter)
                    if learning:
                        learnable.append(found)
                if learning:
                    learns += 1
                else:
                    frozen += 1
            if family == "norm":
                if module._buffers.get("running_mean") is not None:
                    self.norms.append(place)
                    place.before = last
                elif isinstance(module, _BatchNorm):
                    self.bare.append(place)
            elif family == "drops" and drops(module):
                self.droppers.append(place)
            if len(own) != usual.get(kind):
                self._note(place, own)
            training = own.get("training")
            modes.add(training)
            if type(training) is not bool or kind.train is not _TRAIN:
                self.switches.append(place)
            if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
                self.hooked.append(place)
            children = module._modules
            if not children and (learns or frozen):
                leaves.append(place)
                if family != "norm":
                    last = place
            for key, child in children.items():
                if child is None:
                    continue
                if id(child) in known:
                    self.again.setdefault(id(child), []).append(prefix + key)
                    continue
                below = visit(prefix + key, child, place)
                learns += below.learns
                frozen += below.frozen
            place.learns, place.frozen = learns, frozen
            return place

        visit("", self.model, None)
        self.mixed = len(modes) > 1

    def _note(self, place: Place, own: dict) -> None:
        """Keep what a module holds beside what every module has, where a rule may ask for it."""
        plain = True
        for key in own.keys() - _TORCHS:
            value = own[key]
            kind = type(value)
            if key in _SWITCHES:
                (self.labels if key == "requires_grad" else self.switches).append(place)
                plain = False
            if kind not in _PLAIN and (isinstance(value, torch.Tensor) or (kind in _CONTAINERS and _of_objects(value))):
                self.attributes.append((place, key, value))
                plain = False
        if plain and type(place.module).__module__.startswith("torch.nn.modules."):
            # torch's own layers hold numbers there; one more attribute than usual is somebody else's
            self._usual[type(place.module)] = len(own)

    def surroundings(self, place: Place) -> Place:
        """Return the smallest part of the model around a layer that has parameters besides the layer's own."""
        own = place.learns + place.frozen
        return next((around for around in place.path() if around.learns + around.frozen > own), place)

    def around(self, place: Place) -> list[Place]:
        """Return the layers with parameters, besides norms, in the surroundings of a place."""
        inside = self.surroundings(place).name
        if inside not in self._around:
            mine = [one for one in self.leaves if not inside or one.name.startswith(f"{inside}.")]
            self._around[inside] = [one for one in mine if not keeps_statistics(one.module)]
        return self._around[inside]

    def held_in_eval(self, place: Place) -> bool:
        """Say whether somebody keeps this part in eval on purpose: by freeze, a `train` of its class, or as average."""
        around = [place, *place.path()]
        own = any(is_frozen(one.module) or type(one.module).train is not nn.Module.train for one in around)
        return own or any(is_average(one.module) for one in around)
