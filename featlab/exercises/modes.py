"""Checks of lesson 06: flags that stay, switch and come back."""

import copy
from collections import OrderedDict

import torch
from torch import nn

from featlab.exercises import Wrong, describe, exercise, with_block
from featlab.networks import DigitsNet
from featlab.states import changed, model_state

LESSON = "06_modes"
RETURN = " Is a `return` missing?"


def _net() -> DigitsNet:
    torch.manual_seed(6)  # the judge puts the generators back
    return DigitsNet(3, width=4).train()


def _words(training: bool) -> str:
    return "train" if training else "eval"


def _values_as_found(model: nn.Module, before: dict, given: str) -> None:
    """Say so when anything but the modes is no longer what it was."""
    after = model_state(model)
    for kind in ("requires_grad", "parameters", "buffers", "hooks"):
        if moved := changed(before[kind], after[kind]):
            raise Wrong(f"{given} the {kind} of '{moved[0]}' are not as they were. Only flags are to change.")


# ---- only_dropout


@exercise(LESSON)
def only_dropout(answer) -> str:
    """Look at each flag of models with several kinds of Dropout, from several modes."""
    parts = {"conv": nn.Conv2d(1, 4, 3), "drop": nn.Dropout2d(0.2), "norm": nn.BatchNorm2d(4), "flat": nn.Flatten()}
    parts |= {"inner": nn.Sequential(nn.AlphaDropout(0.1), nn.BatchNorm1d(16), nn.Dropout(0.5)), "act": nn.RReLU()}
    model = nn.Sequential(OrderedDict(parts))
    dropouts = {"drop", "inner.0", "inner.2"}
    for start in (True, False):
        for module in model.modules():
            module.training = start
        before, given = model_state(model), f"After only_dropout(model), all in {_words(start)} before,"
        got = answer(model)
        _values_as_found(model, before, given)
        flags = {name: module.training for name, module in model.named_modules()}
        for name, training in flags.items():
            kind = type(model.get_submodule(name)).__name__
            if training == (name in dropouts):
                continue
            if name in dropouts:
                why = "Did a later `eval()` switch it back?" if kind == "Dropout" else "Every kind of Dropout counts."
                raise Wrong(f"{given} '{name}', a {kind}, is in eval; it is to be in train. {why}")
            why = "A container's train() switches all below it." if kind == "Sequential" else "It is no Dropout."
            why = why if name else f"Begin with model.eval(), which sets every flag. {why}"
            raise Wrong(f"{given} '{name or 'the model itself'}', a {kind}, is in train; eval is asked. {why}")
        if got is not model:
            raise Wrong(f"{given} you gave {describe(got)}; return the model.{RETURN if got is None else ''}")
    return "Three kinds of Dropout in train and all else in eval, from either mode."


# ---- kept_reader


@exercise(LESSON)
def kept_reader(answer) -> str:
    """Call train and eval on the model and on a parent, and look at each part's flags."""
    if not isinstance(answer, type) or not issubclass(answer, nn.Module):
        raise Wrong(f"You gave {describe(answer)}; give the class itself, KeptReader.")
    net = _net()
    net.block2.conv1.weight.requires_grad = False  # somebody's own choice
    learnable = {id(p): p.requires_grad for p in net.parameters()}
    model = answer(net)
    if missing := {"stem", "block1", "block2", "head"} - {name for name, _ in model.named_children()}:
        raise Wrong(f"KeptReader(net) has no {sorted(missing)[0]}: leave __init__ as it is, and mend `train`.")
    parent = nn.Sequential(nn.Identity(), model)
    for call, run, mode in [
        ("model.train()", lambda: model.train(), True),
        ("model.eval()", lambda: model.eval(), False),
        ("model.train(True)", lambda: model.train(True), True),
        ("model.train(False)", lambda: model.train(False), False),
        ("model.train(mode=True)", lambda: model.train(mode=True), True),
        ("parent.eval()", lambda: parent.eval(), False),
        ("parent.train()", lambda: parent.train(), True),
    ]:
        got = _called(run, call)
        if got is not model and got is not parent:
            missing = RETURN if got is None else ""
            raise Wrong(f"{call} returned {describe(got)}; every train() returns the module itself.{missing}")
        _right_flags(model, mode, call)
    if {id(p): p.requires_grad for p in model.parameters()} != learnable:
        raise Wrong("Some parameters are no longer as learnable as they were. Only the mode is to be kept.")
    return "stem and block1 stay in eval through seven calls, also a parent's; the rest follows."


def _called(run, call: str):
    try:
        got = run()
    except RecursionError as error:
        raise Wrong(
            f"{call} went round and round: self.eval() is self.train(False), which calls your train() again. "
            "Set the flags by super().train(mode)."
        ) from error
    if got is ...:
        raise TypeError("train returned an ellipsis")  # a blank, for the judge
    return got


def _right_flags(model: nn.Module, mode: bool, call: str) -> None:
    for name, module in model.named_modules():
        stays = name.split(".")[0] in ("stem", "block1")
        if module.training == (mode and not stays):
            continue
        if stays:
            why = "Its parts have flags of their own: call eval() on it, behind super().train(mode)."
            raise Wrong(f"After {call} '{name}' is in train; it is to stay in eval. {why}")
        label = f"'{name}'" if name else "the model itself"
        why = "super().train(mode) sets all flags." if mode else "Pass `mode` on: eval() is train(False)."
        raise Wrong(f"After {call} {label} is in {_words(module.training)}; it is to follow. {why}")


# ---- switched_by_eval


@exercise(LESSON)
def switched_by_eval(answer) -> str:
    """Compare with extractors whose sharing is known by the way they were made."""
    for what, model, extractor, true, why in _extractors():
        given, before = f"With {what}", [(m, m.training) for r in (model, extractor) for m in r.modules()]
        values = model_state(model)
        got = answer(model, extractor)
        if not isinstance(got, list | tuple) or not all(isinstance(name, str) for name in got):
            missing = RETURN if got is None else ""
            raise Wrong(f"{given} you gave {describe(got)}; a list of names is asked.{missing}")
        _values_as_found(model, values, given)
        for module, was in before:
            if module.training != was:
                whose = "model" if any(module is mine for mine in model.modules()) else "extractor"
                raise Wrong(
                    f"{given} a {type(module).__name__} of the {whose} is left in {_words(not was)}. Note each flag "
                    "first, and write each back: train(was) on a parent writes into all below it."
                )
        if list(got) != true:
            if sorted(got) == sorted(true):
                raise Wrong(f"{given} the right names came in another order; that of model.named_modules() is asked.")
            raise Wrong(f"{given} you gave {_listed(got)}; it is {_listed(true)}. {why}")
    return "Five extractors: a part, a copy, other names, a part in eval already, and one that holds its flag."


def _extractors():
    """Yield what it is, a model, an extractor, the names that its eval() switches, and what to think of."""
    below = [f"stem{name}" for name in ("", ".conv", ".bn", ".relu")]
    model = _net()
    shares = "Shared is the module itself, under whatever name; give the model's names."
    yield "a chain of stem and pool", model, nn.Sequential(model.stem, nn.MaxPool2d(2)), below, shares
    yield "an extractor of a deep copy", model, nn.Sequential(copy.deepcopy(model.stem)), [], "A copy shares no flag."
    leaves = nn.Sequential(model.head.dropout, nn.Identity(), model.stem.bn)
    yield "two layers in another order", model, leaves, ["stem.bn", "head.dropout"], shares
    model = _net()
    model.stem.bn.eval()
    kept = [name for name in below if name != "stem.bn"]
    yield "stem.bn in eval already", model, nn.Sequential(model.stem), kept, "What is in eval is not switched."
    model = _Held()
    why = "'drop' is held in train by a train() of its own: do it, look, and put back."
    yield "a Dropout that is held", model, nn.Sequential(model.norm, model.drop), ["norm"], why


class _AlwaysOn(nn.Dropout):
    """A Dropout that draws in eval, too: it holds its flag."""

    def train(self, mode: bool = True) -> nn.Module:
        return super().train(True)


class _Held(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(3), _AlwaysOn(0.5)


def _listed(names) -> str:
    names = list(names)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "") or "none"


# ---- keeping_modes


@exercise(LESSON)
def keeping_modes(answer) -> str:
    """Try every way out of the block, on a model whose flags are mixed and held."""
    for way, trouble, advice in [
        ("that ends", None, "Note every module's own flag, not the root's only."),
        ("that raises a ZeroDivisionError", ZeroDivisionError(), "A `finally` runs on every way out."),
        ("that is interrupted", KeyboardInterrupt(), "`except Exception` misses it; `finally` does not."),
    ]:
        model = nn.Sequential(OrderedDict(net=_net(), held=_AlwaysOn(0.5), head=nn.Linear(3, 2)))
        model.net.block1.bn1.eval()
        model.net.stem.training = False  # its parts stay in train
        model.held.training = False
        flags, before = {m: m.training for m in model.modules()}, model_state(model.net)
        manager = with_block(answer(model), "keeping_modes(model)")
        new = nn.Dropout(0.1)
        try:
            with manager:
                if {m: m.training for m in model.modules()} != flags:
                    raise Wrong("Inside the block flags are switched already. The block itself decides that.")
                model.eval()
                model.net.head.train()
                model.head = new.eval()
                if trouble is not None:
                    raise trouble
        except (ZeroDivisionError, KeyboardInterrupt) as error:
            if error is not trouble:
                raise
        else:
            if trouble is not None:
                raise Wrong(f"A block {way}: your manager swallowed the exception. `finally` lets it pass on.")
        _right_after(flags, new, model, f"After a block {way}", advice)
        _values_as_found(model.net, before, f"After a block {way}")
    return "Every flag is back on three ways out, of modules that were mixed, held, or replaced in the block."


def _right_after(flags: dict, new: nn.Module, model: nn.Module, given: str, advice: str) -> None:
    names = {module: name for name, module in model.named_modules()}
    for module, was in flags.items():
        if module.training == was:
            continue
        name = names.get(module, "head (which the block replaced)") or "the model itself"
        if isinstance(module, _AlwaysOn):
            advice = "It overrides train(): write `module.training = was` instead of calling train."
        elif names.get(module) is None:
            advice = "Keep the modules themselves, not their names."
        elif name.startswith("net.stem."):
            advice = "train(was) on a parent writes into all below it, also into flags that you have put back."
        raise Wrong(f"{given} {name} is in {_words(not was)}; it was in {_words(was)}. {advice}")
    if new.training:
        raise Wrong(f"{given} a module that was added in the block has been switched. Put back what was there before.")
