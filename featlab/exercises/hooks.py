"""Checks of lesson 04, part one: look at what runs, and change it."""

from collections import OrderedDict
from functools import partial
from numbers import Real

import torch
from torch import Tensor, nn

from featlab.exercises import Wrong, describe, exercise
from featlab.states import changed, model_state

LESSON = "04_hooks"


class _Maze(nn.Module):
    """A small model that registers its parts in another order than it calls them, and calls `act` three times."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.act = nn.ReLU(inplace=True)
        self.shortcut = nn.Identity()
        self.body = nn.Sequential(OrderedDict(conv=nn.Conv2d(4, 4, 3, padding=1), norm=nn.BatchNorm2d(4)))
        self.first = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.first(x))
        x = self.act(self.shortcut(x) + self.body(x))
        return self.act(self.head(x.mean((2, 3))))

    def by_hand(self, x: Tensor) -> dict[str, list[Tensor]]:
        """Return what each part returns in each of its calls, computed without hooks or in-place operations."""
        first = self.first(x)
        one = first.relu()
        conv = self.body.conv(one)
        norm = self.body.norm(conv)
        two = (one + norm).relu()
        head = self.head(two.mean((2, 3)))
        parts = {"first": [first], "act": [one, two, head.relu()], "shortcut": [one], "body.conv": [conv]}
        return parts | {"body.norm": [norm], "body": [norm], "head": [head]}


def maze() -> tuple[_Maze, Tensor]:
    torch.manual_seed(4)  # the judge puts the generators back
    return _Maze().eval(), torch.randn(2, 3, 5, 5)


def as_found(model: nn.Module, before: dict, given: str, advice: str = "Keep its handle and remove it.") -> None:
    after = model_state(model)
    for kind in before:
        for name in changed(before[kind], after[kind]):
            if kind != "hooks":
                raise Wrong(f"{given} the {kind} of '{name or 'the model itself'}' are not as they were. Only look.")
            if len(after[kind][name]) < len(before[kind][name]):
                raise Wrong(f"{given} a hook that was on '{name}' before is gone. Remove your own, by their handles.")
            raise Wrong(f"{given} a hook of yours stays on '{name}' and fires in every later forward. {advice}")


def noted(model: nn.Module, x: Tensor) -> tuple[list[str], list[str]]:
    """Hook every submodule; return the order in which they finish in `model(x)`, and a list for later forwards."""
    ran = []
    for name, module in model.named_modules():
        module.register_forward_hook(partial(_note, ran, name))
    model(x)
    order = ran.copy()
    ran.clear()
    return order, ran


def _note(ran: list[str], name: str, module: nn.Module, args: tuple, output) -> None:
    ran.append(name)


def run(model: nn.Module, x: Tensor, given: str):
    """Call a model that carries the learner's hooks."""
    try:
        return model(x)
    except Exception as error:
        raise Wrong(f"{given} the forward raised {type(error).__name__} with your hook on it: {error}") from error


# ---- negative_share


@exercise(LESSON)
def negative_share(answer) -> str:
    """Compare with shares computed by hand, without hooks."""
    model, x = maze()
    before, parts = model_state(model), model.by_hand(x)
    for name in ("body.conv", "shortcut", "first", "head", "body.norm"):
        given, value = f"negative_share(model, '{name}', x)", parts[name][0]
        true, got = (value < 0).float().mean().item(), answer(model, name, x)
        got = got.item() if isinstance(got, Tensor) and got.numel() == 1 else got
        if isinstance(got, bool) or not isinstance(got, Real):
            missing = " Is a `return` missing?" if got is None else ""
            raise Wrong(f"{given} gave {describe(got)}; one number is asked.{missing}")
        if abs(got - true) > 1e-6:
            why = _why_not_share(got, value, name, model, x)
            raise Wrong(f"{given} gave {got:.4g}; it is {true:.4g}. {why}")
        as_found(model, before, f"After {given}")
    return "Five submodules, two of them in front of an in-place operation, and no hook stays."


def _why_not_share(got: float, value: Tensor, name: str, model: _Maze, x: Tensor) -> str:
    def near(share) -> bool:
        return abs(got - float(share)) < 1e-6

    true = (value < 0).float().mean()
    if near(100 * true):
        return "A share goes from 0 to 1; this is in percent."
    if near((value < 0).sum()):
        return "This counts them; divide by how many values there are, as .float().mean() does."
    if near((value <= 0).float().mean()):
        return "Zero is not negative: `<`, not `<=`."
    if near(1 - true):
        return "This is the share of the others."
    if near(0):
        return "What you kept was overwritten: an in-place ReLU ran behind it, before you counted. Keep a clone."
    if near((model(x) < 0).float().mean()):
        return "This is the share in what the whole model returns."
    return f"'{name}' returned it in the middle of model(x): let a hook pick it up there, do not call it yourself."


# ---- call_order


@exercise(LESSON)
def call_order(answer) -> str:
    """Compare with the order in which a model's forward is written."""
    model, x = maze()
    before = model_state(model)
    for names, true in [
        (["first", "head"], ["first", "head"]),
        (["head", "body", "first"], ["first", "body", "head"]),
        (["head", "act"], ["act", "act", "head", "act"]),
        (["body.norm", "body", "body.conv"], ["body.conv", "body.norm", "body"]),
    ]:
        given, got = f"call_order(model, {names}, x)", answer(model, list(names), x)
        if not isinstance(got, list | tuple):
            missing = " Is a `return` missing?" if got is None else ""
            raise Wrong(f"{given} gave {describe(got)}; a list of names is asked.{missing}")
        if list(got) != true:
            raise Wrong(f"{given} gave {list(got)}; it is {true}. {_why_not_order(list(got), names, true)}")
        as_found(model, before, f"After {given}")
    return "Four orders, with a module that is called three times, and no hook stays."


def _why_not_order(got: list, names: list, true: list) -> str:
    if not got:
        return "Nothing was noted: register the hooks, then call model(x)."
    if len(set(true)) > 1 and got == [names[-1]] * len(got):
        return "All are the last name. The hooks read the loop's variable when they are called; give each its own."
    if "body" in names and got == sorted(true, key=lambda name: name != "body"):
        return "A container starts before its parts and finishes after them: a pre-hook is called at the start of each."
    if sorted(map(str, got)) == sorted(true):
        return "The right names in another order. The forward decides the order, so note each name when its hook runs."
    if set(got) == set(true) and len(got) < len(true):
        return "A module that is called several times stands there as often."
    if len(got) == 2 * len(true):
        return "Each call is there twice: two hooks, or two forwards."
    if not set(got) <= set(names):
        return "Only the names that were asked for, in full, are to be noted."
    return "One name for each call, in the order of the calls."


# ---- ablate


@exercise(LESSON)
def ablate(answer) -> str:
    """Silence channels and compare with what the model's own parts give by hand."""
    for name, channel in [("body.norm", 1), ("first", 3), ("head", 2), ("shortcut", 0)]:
        model, x = maze()
        given, kept = f"After ablate(model, '{name}', {channel})", x.clone()
        before, whole, true = model_state(model), model(x), _silenced(model, x, name, channel)
        handle = answer(model, name, channel)
        if not callable(getattr(handle, "remove", None)):
            raise Wrong(f"{given} you gave {describe(handle)}; return the handle that register_forward_hook gives.")
        _only_hooks(model, before, given)
        got = run(model, x, given)
        if not torch.allclose(got, true, atol=1e-6):
            raise Wrong(f"{given} the model's output is not the one without this channel. {_why_not(got, whole, name)}")
        if not torch.allclose(run(model, x, given), true, atol=1e-6):
            raise Wrong(
                f"{given} a second forward is not like the first: the hook has to stay until the caller removes it."
            )
        if not torch.equal(x, kept):
            raise Wrong(f"{given} the input of the model was overwritten. Write into a clone, and return that.")
        handle.remove()
        as_found(model, before, f"After handle.remove() for '{name}'")
        if not torch.allclose(model(x), whole, atol=1e-6):
            raise Wrong("After handle.remove() the model does not give what it gave before.")
    return "Four submodules, one of them an Identity whose output is its input; remove() brings all back."


def _silenced(model: _Maze, x: Tensor, name: str, channel: int) -> Tensor:
    """Compute the model by hand with one channel of one part at zero."""

    def part(here: str, value: Tensor) -> Tensor:
        if here != name:
            return value
        others = torch.arange(value.shape[1]) != channel
        return value * others.view(-1, *[1] * (value.ndim - 2))

    one = part("first", model.first(x)).relu()
    two = (part("shortcut", one) + part("body.norm", model.body(one))).relu()
    return part("head", model.head(two.mean((2, 3)))).relu()


def _only_hooks(model: nn.Module, before: dict, given: str) -> None:
    after = model_state(model)
    if any(changed(before[kind], after[kind]) for kind in ("parameters", "buffers")):
        raise Wrong(f"{given} weights have changed, and no handle brings them back. Silence the output instead.")
    if not changed(before["hooks"], after["hooks"]):
        raise Wrong(f"{given} there is no hook on the model. Was it removed already? The caller removes it, later.")


def _why_not(got: Tensor, whole: Tensor, name: str) -> str:
    if torch.allclose(got, whole, atol=1e-6):
        return "Nothing changed at all: torch takes what the hook returns, and None means 'leave it'."
    if name == "shortcut":
        return (
            "An Identity returns its input itself, so `output[...] = 0` writes into what the other branch reads too. "
            "Write into output.clone() and return it."
        )
    if got.abs().sum() == 0:
        return "It is all zero: only one channel is to be silent."
    return "Channels are axis 1, behind the images of the batch: value[:, channel]."
