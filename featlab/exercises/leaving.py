"""Checks of lesson 04, part two: stop early, capture, and leave no hook behind on any way out."""

from collections import OrderedDict
from contextlib import suppress

import torch
from torch import Tensor, nn

from featlab.exercises import Wrong, describe, exercise, with_block
from featlab.exercises.hooks import LESSON, as_found, maze, noted, run
from featlab.states import model_state


class _Trap(nn.Module):
    """Raise what it was made with."""

    def __init__(self, trouble: BaseException):
        super().__init__()
        self.trouble = trouble

    def forward(self, x: Tensor) -> Tensor:
        raise self.trouble


def _trapped(trouble: BaseException) -> nn.Sequential:
    parts = {"conv": nn.Conv2d(3, 4, 3), "trap": _Trap(trouble), "after": nn.ReLU()}
    return nn.Sequential(OrderedDict(parts)).eval()


# ---- stop_after


@exercise(LESSON)
def stop_after(answer) -> str:
    """Watch which parts run, and let a model fail by itself."""
    for name in ("body.conv", "body", "first", "act"):
        model, x = maze()
        parts, given = model.by_hand(x), f"stop_after(model, '{name}', x)"
        order, ran = noted(model, x)  # by hooks of the caller's own: they must stay
        before, got = model_state(model), answer(model, name, x)
        if not isinstance(got, Tensor):
            missing = " Is a `return` missing?" if got is None else ""
            raise Wrong(f"{given} gave {describe(got)}; what '{name}' returned is asked.{missing}")
        as_found(model, before, f"After {given}", "Remove it in a `finally`, which runs for exceptions too.")
        if "" in ran:
            raise Wrong(f"{given} let the model run to its end. A hook cannot return early, but it can raise.")
        up_to = order[: order.index(name) + 1]
        if ran not in (up_to, up_to[:-1]):  # the hook that stops may stand in front of the one that notes
            raise Wrong(f"{given} did not stop in the first call of '{name}'; ran: {', '.join(ran) or 'nothing'}.")
        if not torch.equal(got, parts[name][0]):
            raise Wrong(f"{given} gave other values: {describe(got)}. {_ALONE}")
    return _failing_models(answer)


_ALONE = "Run model(x) itself, so that everything in front of the submodule happens as in the forward."


def _failing_models(answer) -> str:
    """Try a model that fails or is interrupted before the submodule is reached, and a submodule that never runs."""
    model, x = _trapped(ZeroDivisionError("raised by the model itself")), torch.ones(1, 3, 4, 4)
    before = model_state(model)
    try:
        answer(model, "after", x)
    except ZeroDivisionError:
        as_found(model, before, "After a forward that raised by itself", "Put remove() into a `finally`.")
    except Exception as error:
        raise Wrong(f"The model raised a ZeroDivisionError, and you made a {type(error).__name__} of it.") from error
    else:
        raise Wrong("The model failed by itself, and you hid its error. Catch only an exception class of your own.")
    model, x = _trapped(KeyboardInterrupt()), torch.ones(1, 3, 4, 4)
    before = model_state(model)
    try:
        answer(model, "after", x)
    except KeyboardInterrupt:
        advice = "`except Exception` misses it, as KeyboardInterrupt is none; a `finally` does not."
        as_found(model, before, "After somebody pressed Interrupt", advice)
    else:
        raise Wrong("Somebody pressed Interrupt, and you went on. Catch only an exception class of your own.")
    model, x = maze()
    model.spare = nn.ReLU()  # registered, never called
    before = model_state(model)
    try:
        got = answer(model, "spare", x)
    except LookupError:
        as_found(model, before, "After a submodule that never ran", "Put remove() into a `finally`.")
        return "It stops where it should, passes the model's own errors on, and says when a submodule never ran."
    raise Wrong(f"'spare' never runs, and you gave {describe(got)}. Raise a LookupError that says so.")


# ---- my_capture


@exercise(LESSON)
def my_capture(answer) -> str:
    """Try values, repeats, in-place operations, and every way out of the block."""
    model, x = maze()
    mine = model.first.register_forward_hook(lambda module, args, output: None)  # a hook of the user's own
    before, parts = model_state(model), model.by_hand(x)
    for names in (["body.conv", "head"], ["act", "shortcut"], ["first", "body.norm"]):
        for _ in range(2):  # a second block starts from nothing
            seen = _captured(answer, model, names, x)
            as_found(model, before, f"After a block with {names}", "Remove it when the block ends.")
            _right_values(seen, {name: parts[name] for name in names})
    mine.remove()
    _ways_out(answer)
    model, x = maze()
    before = model_state(model)
    with suppress(Exception), answer(model, ["first", "no_such_part"]):  # which error, if any, is the learner's choice
        model(x)
    advice = "Set the hooks inside the `try`, each handle into a list that is there before the first hook."
    as_found(model, before, "After a name that the model does not have", advice)
    return "Values, repeats and in-place operations are right, and on no way out does a hook stay or get lost."


def _captured(answer, model: nn.Module, names: list[str], x: Tensor) -> dict:
    with with_block(answer(model, list(names)), f"my_capture(model, {names})") as seen:
        run(model, x, f"With {names}")
    if not isinstance(seen, dict):
        raise Wrong(f"The block got {describe(seen)}; `yield` the dict that the hooks fill.")
    return seen


def _right_values(seen: dict, true: dict[str, list[Tensor]]) -> None:
    if set(seen) != set(true):
        raise Wrong(f"The dict has the keys {list(seen)}; the names asked for are {list(true)}.")
    for name, values in true.items():
        got = seen[name]
        if not isinstance(got, list):
            raise Wrong(f"seen['{name}'] is {describe(got)}; a list is asked, with one value for each call.")
        if len(got) != len(values):
            raise Wrong(f"seen['{name}'] holds {len(got)} values; it was called {_times(len(values))}. {_COUNT}")
        for call, (one, value) in enumerate(zip(got, values, strict=True)):
            if not isinstance(one, Tensor) or one.shape != value.shape:
                raise Wrong(f"seen['{name}'][{call}] is {describe(one)}; the output has shape {tuple(value.shape)}.")
            if torch.equal(one, value):
                continue
            if torch.equal(one, value.relu()):
                why = "It was overwritten by the in-place ReLU that runs behind: keep output.clone()."
                raise Wrong(f"seen['{name}'][{call}] has lost its negative values. {why}")
            raise Wrong(f"seen['{name}'][{call}] is not what '{name}' returned in that call. Has each its own name?")


_COUNT = "Append at each call. All under one name? Then the hooks read the loop's variable too late."


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _ways_out(answer) -> None:
    for trouble, advice in [
        (ZeroDivisionError(), "When the block raises, what follows `yield` is skipped unless a `finally` holds it."),
        (KeyboardInterrupt(), "`except Exception` misses it, as KeyboardInterrupt is none; `finally` does not."),
    ]:
        model, kind = _trapped(trouble), type(trouble).__name__
        before = model_state(model)
        try:
            with answer(model, ["conv", "after"]):
                model(torch.ones(1, 3, 4, 4))
        except type(trouble):
            as_found(model, before, f"After a block that ended with {kind}", advice)
        else:
            raise Wrong(f"The block raised {kind}, and your capture swallowed it. `finally` lets it pass on.")
