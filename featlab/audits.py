"""Findings: mode, kind of layer, requires_grad, optimizer and buffers judged together, for what contradicts itself."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from .findings import Audit, AuditFailed, Finding
from .overrides import fault_of, hook_key
from .scenes import Place, Scene, drops, is_average, keeps_statistics, moves
from .selectors import check_module
from .switches import is_frozen
from .trials import TRIALS, Trial, holdings_kept

__all__ = ["RULES", "Audit", "AuditFailed", "Finding", "audit"]

Found = tuple[list[str], str, str]  # where, evidence, remedy


class Rule:
    """One mechanism: its code, how bad it is, what it means, and the function that looks for it."""

    def __init__(self, code: str, severity: str, meaning: str, look: Callable[[Scene], Iterator[Found]]):
        self.code, self.severity, self.meaning, self.look = code, severity, meaning, look

    def __call__(self, scene: Scene) -> Iterator[Finding]:
        for where, evidence, remedy in self.look(scene):
            yield Finding(self.code, self.severity, tuple(where), evidence, remedy, self.meaning)


RULES: dict[str, Rule] = {}


def rule(severity: str, meaning: str) -> Callable:
    """Register a function as the rule whose code is its name; it yields where, evidence and remedy."""

    def register(look: Callable[[Scene], Iterator[Found]]) -> Callable:
        code = look.__name__.replace("_", "-")
        RULES[code] = Rule(code, severity, meaning, look)
        return look

    return register


def audit(model: nn.Module, *, optimizer: Optimizer | list[Optimizer] | None = None, x: Any = None) -> Audit:
    """Look for what contradicts itself in a model, and leave everything as found.

    Args:
        optimizer: the one that trains it, or a list of them; without it nothing is said about optimizers.
        x: an input to run it on in eval: a tensor, a tuple of positional or a dict of keyword arguments. Then what only
            running shows is found too; modes, buffers, random numbers, and what a forward registers or keeps as an
            attribute, are put back. Parameters are not copied.

    Raises:
        TypeError: optimizer is no torch.optim.Optimizer.
        ValueError: the model raises on x, or x is given and the shapes of a lazy submodule are not known yet.

    Claims: F1, F9, M10, M12, W8.
    """
    check_module(model)
    optimizers = _optimizers(optimizer)
    scene = Scene(model, optimizers, listed=isinstance(optimizer, list | tuple))
    found = [finding for one in RULES.values() for finding in one(scene)]
    if x is not None:
        with holdings_kept(scene), Trial(scene, x) as trial:
            found += [
                Finding(code, severity, tuple(where), evidence, remedy, meaning)
                for code, (severity, meaning, look) in TRIALS.items()
                for where, evidence, remedy in look(trial)
            ]
    return Audit(found)


def _optimizers(given) -> list[Optimizer]:
    if given is None:
        return []
    every = list(given) if isinstance(given, list | tuple) else [given]
    for one in every:
        if not (hasattr(one, "param_groups") and hasattr(one, "state")):
            raise TypeError(
                f"optimizer is a torch.optim.Optimizer or a list of them; this is {type(one).__name__}, without groups "
                "or state. In Lightning give trainer.optimizers."
            )
    return every


def _get(name: str) -> str:
    """Return the code that reaches a submodule."""
    return f"model.get_submodule('{name}')" if name else "model"


def _names(places: list[Place]) -> list[str]:
    return [place.name for place in places]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


# ---- modes


@rule("warning", "Their statistics drift with every batch in train mode, so the same input gives other features later.")
def frozen_statistics_move(scene: Scene) -> Iterator[Found]:
    wrong = [place for place in scene.norms if not place.learns and moves(place.module) and _in_frozen(scene, place)]
    tops = {id(place): _largest_frozen(place) for place in wrong}
    once = {id(top): top for top in tops.values()}
    kept = _run_as_in_training(scene, list(once.values()))
    wrong = [place for place in wrong if id(tops[id(place)]) not in kept]
    if wrong:
        said = f"{_count(len(wrong), 'norm')} in train mode, and the layers around are frozen."
        yield _names(wrong), said, _freeze(wrong)


def _in_frozen(scene: Scene, place: Place) -> bool:
    """Say whether a norm that does not learn belongs to layers that do not learn either."""
    around = scene.surroundings(place)
    if around.frozen and not around.learns:
        return True
    return bool(place.frozen and place.before and not place.before.learns)


def _freeze(places: list[Place]) -> str:
    """Return the line that freezes the largest frozen parts in which these places are."""
    tops = list(dict.fromkeys(_largest_frozen(place).name for place in places))
    if len(tops) == 1:
        return f"fl.freeze({_get(tops[0])})"
    return f"for name in {tops}: fl.freeze(model.get_submodule(name))"


def _largest_frozen(place: Place) -> Place:
    """Return the largest part of the model around a place in which no parameter requires grad."""
    for around in place.path():
        if around.learns:
            break
        place = around
    return place


def _run_as_in_training(scene: Scene, tops: list[Place]) -> set[int]:
    """Return ids of frozen parts in train mode by design: as a momentum teacher, or as the half of a GAN at rest."""
    resting, kept = _resting(scene) if tops else set(), set()
    for top in tops:
        above = top.above.module if top.above else None
        # the layers of a Sequential follow each other, and none is another's teacher
        beside = () if above is None or isinstance(above, (nn.Sequential, nn.ModuleList)) else above.children()
        twins = (one for one in beside if one is not top.module and type(one) is type(top.module))
        at_rest = resting and not resting.isdisjoint(map(id, top.module.parameters()))
        if at_rest or any(_is_copy(top.module, one) for one in twins):
            kept.add(id(top))
    return kept


def _resting(scene: Scene) -> set[int]:
    """Return the parameters of optimizers that train nothing now, while another has its turn."""
    busy = {number for _, one in scene.learnable for number in scene.held.get(id(one), ())}
    if not busy or len(busy) == len(scene.optimizers):
        return set()
    return {key for key, numbers in scene.held.items() if busy.isdisjoint(numbers)}


def _is_copy(module: nn.Module, student: nn.Module) -> bool:
    """Say whether a module's largest parameter points where that of one that learns does, as an average of it."""
    pairs = list(zip(module.parameters(), student.parameters(), strict=False))
    if not pairs or not any(b.requires_grad for _, b in pairs) or any(is_lazy(a) or is_lazy(b) for a, b in pairs):
        return False
    a, b = max(pairs, key=lambda pair: pair[0].numel())
    if a.shape != b.shape or a.device != b.device or a.is_meta:
        return False
    return torch.cosine_similarity(a.detach().flatten().float(), b.detach().flatten().float(), dim=0).item() > 0.9


@rule("warning", "Its features are different each time, and what is trained on them learns from noise.")
def frozen_dropout_active(scene: Scene) -> Iterator[Found]:
    there: dict[int, tuple[Place, list[Place]]] = {}
    for place in scene.droppers:
        top = _largest_frozen(place)
        if place.module.training and top.above and top.frozen and not top.learns:
            there.setdefault(id(top), (top, []))[1].append(place)
    whole = scene.places[0].numbers() if there else 0
    kept = _run_as_in_training(scene, [top for top, _ in there.values()])
    for top, places in there.values():
        # half of a model is a backbone; frozen embeddings beside adapters are usual, and so is dropout in them
        if 2 * top.numbers() < whole or id(top) in kept:
            continue
        said = f"{_count(len(places), 'layer')} drop units at random inside {top.name}, which is frozen."
        yield _names(places), said, f"fl.freeze({_get(top.name)})"


@rule(
    "warning", "What counts is each layer's own flag: these move their statistics or drop units although you evaluate."
)
def train_inside_eval(scene: Scene) -> Iterator[Found]:
    wrong = []
    for place in [*scene.norms, *scene.droppers] if scene.mixed else ():
        above = next(place.path(), None)
        if place.module.training and above and any(not around.module.training for around in place.path()):
            if any(is_frozen(around.module) for around in place.path()):
                continue  # put into a frozen part on purpose: a new head
            if keeps_statistics(place.module) or not _monte_carlo(scene):
                wrong.append(place)
    if wrong:
        parts = [around.name for around in wrong[0].path() if not around.module.training]
        said = f"{_count(len(wrong), 'layer')} in train mode inside {parts[-1] or 'a model'} in eval."
        whole, mend = _get(parts[-1]), f"{_get(parts[-1])}.eval()"
        if any(type(around.module).train is not nn.Module.train for place in wrong for around in place.path()):
            mend = f"for part in {whole}.modules(): part.training = False"  # an own train() may not reach it
        yield _names(wrong), said, mend


def _monte_carlo(scene: Scene) -> bool:
    """Say whether dropout alone is in train mode, as for Monte Carlo estimates."""
    kinds = [place for place in scene.places if place.module.training]
    return bool(kinds) and all(drops(one.module) or (one.above and drops(one.above.module)) for one in kinds)


@rule("warning", "They normalise by old statistics and drop nothing while their neighbours train.")
def eval_inside_train(scene: Scene) -> Iterator[Found]:
    wrong = []
    for place in [*scene.norms, *scene.droppers] if scene.mixed else ():
        if place.module.training or scene.held_in_eval(place):
            continue
        if not any(around.module.training for around in place.path()):
            continue
        # a norm alone in eval is a habit of detectors; with the layers around it, somebody called eval()
        if any(one.learns and not one.module.training for one in scene.around(place)):
            wrong.append(place)
    if wrong:
        parts = (next(around.name for around in place.path() if around.module.training) for place in wrong)
        tops = list(dict.fromkeys(parts))
        inside = tops[0] or "a model"
        said = f"{_count(len(wrong), 'layer')} in eval, with layers that learn, inside {inside} in train mode."
        if "" in tops or len(tops) > 4:
            yield _names(wrong), said, "model.train()"
        else:
            yield _names(wrong), said, f"for name in {tops}: model.get_submodule(name).train()"


# ---- norms


@rule(
    "warning", "PyTorch's momentum is the weight of the new batch; elsewhere it is that of the old ones (0.99 is 0.01)."
)
def keras_momentum(scene: Scene) -> Iterator[Found]:
    wrong = [p for p in scene.norms if p.module.momentum is not None and 0.9 <= p.module.momentum < 1]
    wrong = [place for place in wrong if place.module.training]
    if wrong:
        momentum = wrong[0].module.momentum
        said = f"{_count(len(wrong), 'norm')} with momentum={momentum}: each batch replaces the statistics."
        yield _names(wrong), said, _each(f"part.momentum = {round(1 - momentum, 6)}", wrong)


@rule("warning", "In eval they normalise by what they were made with, not by your data.")
def statistics_never_move(scene: Scene) -> Iterator[Found]:
    wrong = [p for p in scene.norms if p.module.training and p.module.momentum == 0.0]
    if wrong:
        said = f"{_count(len(wrong), 'norm')} with momentum=0.0 in train mode: no batch is ever taken in."
        yield _names(wrong), said, _each("part.momentum = 0.1", wrong)


@rule("warning", "In eval, too, the answer for one sample depends on the others in its batch; a batch of one may fail.")
def batch_statistics_in_eval(scene: Scene) -> Iterator[Found]:
    wrong = [place for place in scene.bare if not place.module.training]
    if wrong:
        said = f"{_count(len(wrong), 'BatchNorm')} in eval without running statistics."
        made = "part.running_mean = torch.zeros(part.num_features); part.running_var = torch.ones(part.num_features)"
        yield _names(wrong), said, _each(f"part.track_running_stats = True; {made}", wrong)


@rule("warning", "Two streams of activations share one mean and variance, which then fit neither.")
def shared_norm(scene: Scene) -> Iterator[Found]:
    for place in scene.norms:
        others = [name for name in scene.again.get(id(place.module), ()) if not _refers(scene, place.name, name)]
        if others and place.module.training:
            said = f"One {type(place.module).__name__} stands under {len(others) + 1} names."
            copied = f"copy.deepcopy({_get(place.name)})"
            yield [place.name, *others], said, _set(others[0], copied)


def _refers(scene: Scene, one: str, other: str) -> bool:
    """Say whether a second name only points into a part, as in `self.norm = self.backbone.norm`."""
    outer, inner = sorted((name.rpartition(".")[0] for name in (one, other)), key=len)
    inside = inner.startswith(f"{outer}." if outer else "") and inner != outer
    # what a Sequential holds it calls
    return inside and not isinstance(scene.model.get_submodule(outer), nn.Sequential)


@rule("error", "What it normalises is NaN from then on.")
def statistics_not_finite(scene: Scene) -> Iterator[Found]:
    by_device: dict[torch.device, list[Place]] = {}
    for place in scene.norms:
        if not place.module.training and not place.module.running_var.is_meta:
            by_device.setdefault(place.module.running_var.device, []).append(place)
    for places in by_device.values():
        sums = torch.stack([(p.module.running_var.sum() + p.module.running_mean.sum()).float() for p in places])
        wrong = [place for place, fine in zip(places, sums.isfinite().tolist(), strict=True) if not fine]
        if wrong:
            yield (
                _names(wrong),
                f"{_count(len(wrong), 'norm')} with NaN or infinite running statistics.",
                _each("part.reset_running_stats()", wrong),
            )


# ---- optimizers


@rule("warning", "They get gradients and never move: nothing here trains them.")
def parameter_in_no_optimizer(scene: Scene) -> Iterator[Found]:
    if scene.optimizers and (wrong := _untrained(scene)):
        said = f"{_count(len(wrong), 'parameter')} require grad, and no optimizer holds them."
        groups = "one in optimizer for group in one.param_groups" if scene.listed else "group in optimizer.param_groups"
        held = f"{{id(p) for {groups} for p in group['params']}}"
        new = f"[p for p in model.parameters() if p.requires_grad and id(p) not in {held}]"
        yield wrong, said, f"{_optimizer(scene)}.add_param_group({{'params': {new}}})"


def _optimizer(scene: Scene, number: int = 0) -> str:
    """Return the code that reaches an optimizer."""
    return f"optimizer[{number}]" if scene.listed else "optimizer"


def _untrained(scene: Scene) -> list[str]:
    """Return the parameters that are to learn and that no optimizer holds; averages are moved otherwise."""
    wrong = [name for name, p in scene.learnable if id(p) not in scene.held]
    averages = [place.name for place in scene.places if is_average(place.module)] if wrong else []
    inside = tuple(f"{name}." if name else "" for name in averages)
    return [name for name in wrong if not name.startswith(inside)]


@rule("warning", "It trains tensors that the model does not use any more. Build the optimizer last.")
def optimizer_holds_stranger(scene: Scene) -> Iterator[Found]:
    strangers = [key for key in scene.held if key not in scene.parameters]
    missing = _untrained(scene) if strangers else []
    # an optimizer may train more than this model; replaced parameters leave a gap as well
    if missing:
        said = (
            f"The optimizer holds {_count(len(strangers), 'parameter')} that the model has not, and lacks {missing[0]}."
        )
        # the same optimizer with its options: a scheduler holds it, and not every class takes its own defaults again
        one = _optimizer(scene, scene.held[strangers[0]][0])
        if len(scene.optimizers) == 1:
            new = "{**group, 'params': [p for p in model.parameters() if p.requires_grad]}"
            yield missing, said, f"{one}.param_groups[:] = [{new} for group in {one}.param_groups[:1]]"
        else:  # what is missing is told, and added, by parameter-in-no-optimizer
            left = "[p for p in group['params'] if id(p) in set(map(id, model.parameters()))]"
            yield missing, said, f"for group in {one}.param_groups: group['params'] = {left}"


@rule("warning", "The next step moves it by that gradient, by momentum and by weight decay, frozen or not.")
def frozen_will_move(scene: Scene) -> Iterator[Found]:
    still = [found for found in scene.parameters.values() if not found[1].requires_grad]
    wrong = [(name, one) for name, one in still if id(one) in scene.held and one.grad is not None]
    resting = _resting(scene) if wrong else set()
    if wrong := [name for name, one in wrong if id(one) not in resting]:
        said = f"{_count(len(wrong), 'parameter')} frozen, in the optimizer, with a gradient left over."
        yield wrong, said, "for p in model.parameters(): p.grad = p.grad if p.requires_grad else None"


@rule("error", "Every step is in vain.")
def nothing_learns(scene: Scene) -> Iterator[Found]:
    if scene.optimizers and scene.parameters and not scene.learnable:
        said = f"An optimizer is given, and not one of {_count(len(scene.parameters), 'parameter')} requires grad."
        last = scene.leaves[-1].name if scene.leaves else ""
        yield [""], said, f"{_get(last)}.requires_grad_(True)"


@rule("warning", "Each of them moves it, with its own momentum and learning rate.")
def in_two_optimizers(scene: Scene) -> Iterator[Found]:
    twice = {key for key, numbers in scene.held.items() if len(set(numbers)) > 1} if len(scene.optimizers) > 1 else ()
    wrong = [scene.parameters[key][0] for key in twice if key in scene.parameters]
    if wrong:
        said = f"{_count(len(wrong), 'parameter')} held by more than one optimizer."
        yield wrong, said, "optimizer = torch.optim.AdamW(model.parameters())  # one for each parameter"


@rule("note", "It does not learn until a scheduler raises the rate.")
def learning_rate_zero(scene: Scene) -> Iterator[Found]:
    groups = [
        (f"{_optimizer(scene, number)}.param_groups[{place}]", group)
        for number, optimizer in enumerate(scene.optimizers)
        for place, group in enumerate(optimizer.param_groups)
    ]
    for code, group in groups:
        if isinstance(group.get("lr"), float | int) and group["lr"] == 0:
            mine = [
                scene.parameters[id(p)][0] for p in group["params"] if id(p) in scene.parameters and p.requires_grad
            ]
            if mine:
                said = f"A group of {_count(len(mine), 'parameter')} has the learning rate 0."
                yield mine, said, f"{code}['lr'] = 1e-3"


@rule("warning", "Nothing is recorded, so backward() has nothing to go by.")
def grad_mode_off(scene: Scene) -> Iterator[Found]:
    if scene.optimizers and scene.model.training and not torch.is_grad_enabled():
        said = "Grad mode is off in this thread, with an optimizer given and the model in train mode."
        yield [""], said, "torch.set_grad_enabled(True)"


@rule("error", "It was made inside inference_mode and can never be trained.")
def inference_parameter(scene: Scene) -> Iterator[Found]:
    parameters, usually = scene.parameters.values(), nn.Parameter
    wrong = [name for name, one in parameters if (type(one) is usually or not is_lazy(one)) and one.is_inference()]
    if wrong:
        yield wrong, f"{_count(len(wrong), 'parameter')} are inference tensors.", "model = copy.deepcopy(model)"


# ---- what a module holds


_TYPOS = {"require_grad", "required_grad", "requires_grads"}


@rule("warning", "Nobody reads that attribute: it freezes nothing.")
def requires_grad_attribute(scene: Scene) -> Iterator[Found]:
    for place in scene.labels:
        if place.learns and vars(place.module)["requires_grad"] is False:
            said = f"{place.name or 'The model'}.requires_grad = False, and {place.learns} of its parameters learn."
            yield [place.name], said, f"{_get(place.name)}.requires_grad_(False)"
    typos: dict[str, list[str]] = {}
    for name, parameter in scene.learnable:
        own = parameter.__dict__
        for typo in _TYPOS & own.keys() if own else ():
            if own[typo] is False:
                typos.setdefault(typo, []).append(name)
    for typo, names in typos.items():
        said = f"{_count(len(names), 'parameter')} with .{typo} = False: the attribute is requires_grad."
        meant = f"p.requires_grad and getattr(p, '{typo}', True)"
        yield names, said, f"for p in model.parameters(): p.requires_grad_({meant})"


@rule("warning", "parameters(), train(), to() and state_dict() never see them.")
def unregistered_module(scene: Scene) -> Iterator[Found]:
    for place, key, value in scene.attributes:
        hidden = [one for one in _inside(value) if isinstance(one, nn.Module) and id(one) not in scene.known]
        if any(_matters(scene, module) for module in hidden):
            said = f"{_count(len(hidden), 'module')} in '{key}', a plain {type(value).__name__}."
            whole = f"{_get(place.name)}.{key}"
            kind, mode = "Dict" if type(value) is dict else "List", "" if place.module.training else ".eval()"
            if all(isinstance(one, nn.Module) for one in _inside(value)):
                yield [place.name], said, f"{whole} = torch.nn.Module{kind}({whole}){mode}"
            else:
                yield [place.name], said, f"# keep the modules of {whole} in a torch.nn.Module{kind} of their own"


def _inside(value, deeper: bool = True) -> list:
    """Return what a list, tuple, set or dict holds, and the containers in it; nothing for anything else."""
    if isinstance(value, torch.Tensor):
        return []
    found = list(value.values() if type(value) is dict else value)
    below = (one for one in found if deeper and type(one) in (list, tuple, set, dict))
    return found + [item for one in below for item in _inside(one, deeper=False)]


def _matters(scene: Scene, hidden: nn.Module) -> bool:
    """Say whether it hurts that a module is not registered: it has parameters to learn, or draws at random."""
    parameters = list(hidden.parameters())
    alone = [p for p in parameters if p.requires_grad and id(p) not in scene.parameters and id(p) not in scene.held]
    return bool(alone) or (not parameters and any(drops(module) for module in hidden.modules()))


@rule("warning", "The optimizer, to() and state_dict() never see it.")
def unregistered_parameter(scene: Scene) -> Iterator[Found]:
    for place, key, value in scene.attributes:
        whole, said = f"{_get(place.name)}.{key}", f"'{key}' requires grad, and is a plain attribute."
        if isinstance(value, torch.Tensor):
            if _lost(scene, value):
                mend = f"{_get(place.name)}.__dict__.pop('{key}')"
                yield [place.name], said, f"{whole} = torch.nn.Parameter({mend}.detach())"
        elif any(isinstance(one, nn.Parameter) and _lost(scene, one) for one in _inside(value)):
            kind = "Dict" if type(value) is dict else "List"
            yield [place.name], said, f"{whole} = torch.nn.Parameter{kind}({whole})"


def _lost(scene: Scene, value: torch.Tensor) -> bool:
    """Say whether a tensor learns, and nobody knows it; what a forward kept of its results is not meant."""
    if not value.requires_grad or id(value) in scene.parameters or id(value) in scene.held:
        return False
    if value.is_leaf:
        return True
    steps, node = 0, value.grad_fn
    while node is not None and steps < 3:  # nn.Parameter(...).to(device), * 0.1 and the like
        before = [one for one, _ in node.next_functions if one is not None]
        if len(before) != 1:
            return False
        node, steps = before[0], steps + 1
        if hasattr(node, "variable"):
            return id(node.variable) not in scene.parameters
    return False


@rule("error", "model.train() and model.eval() do not switch it, or fail.")
def mode_switch_shadowed(scene: Scene) -> Iterator[Found]:
    for place in dict.fromkeys(scene.switches):
        own = vars(place.module)
        if said := fault_of(place.module):
            shadow = next((name for name in ("train", "eval") if name in own and not is_frozen(place.module)), None)
            if not isinstance(place.module.training, bool):
                mend = f"{_get(place.name)}.training = True"
            else:
                mend = (
                    f"del {_get(place.name)}.{shadow}"
                    if shadow
                    else f"type({_get(place.name)}).train = torch.nn.Module.train"
                )
            yield [place.name], said, mend


@rule("warning", "It runs twice at every call, as after running a cell again. Keep the handle, and remove it.")
def hook_repeated(scene: Scene) -> Iterator[Found]:
    for place in scene.hooked:
        for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks"):
            keys = [hook_key(hook) for hook in getattr(place.module, kind, {}).values()]
            if twice := [key for key in keys if keys.count(key) > 1]:
                said = f"One function is registered {keys.count(twice[0])} times in {kind}."
                yield [place.name], said, f"{_get(place.name)}.{kind}.popitem()"


def _each(line: str, places: list[Place]) -> str:
    names, kinds = _names(places), {type(place.module) for place in places}
    kind = kinds.pop() if len(kinds) == 1 else _BatchNorm
    kind = kind if getattr(nn, kind.__name__, None) is kind else _BatchNorm
    listed, whole = repr(names), [places[0], *places[0].path()][-1].module
    # by their class only if no other has it: the line must not touch what is in order
    if len(names) > 3 and [name for name, one in whole.named_modules() if isinstance(one, kind)] == names:
        public = "torch.nn.modules.batchnorm" if kind is _BatchNorm else "torch.nn"
        listed = f"fl.names(model, {public}.{kind.__name__})"
    return f"for name in {listed}: part = model.get_submodule(name); {line}"


def _set(name: str, value: str) -> str:
    above, _, last = name.rpartition(".")
    return f"setattr({_get(above)}, '{last}', {value})"
