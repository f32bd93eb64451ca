"""Checks of lesson 05, part two: go no further than the wanted layer, by a chain or by hooks."""

import torch
from torch import Tensor, nn

from featlab.exercises import Wrong, describe, exercise
from featlab.exercises.extraction import LESSON, Sorter, as_found, new_model
from featlab.exercises.hooks import noted
from featlab.states import model_state


class _Residual(nn.Module):
    """Registers in another order than it calls, and adds its input to what `inner` makes of it."""

    def __init__(self):
        super().__init__()
        self.last, self.first = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)
        self.inner = nn.Sequential(nn.Tanh(), nn.Conv2d(3, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(x + self.inner(x))


def _parts(model: Sorter, x: Tensor) -> dict[str, Tensor]:
    """Compute by hand what the submodules return, `relu` in its first call."""
    with torch.no_grad():
        stem_0 = model.stem[0](x)
        stem = model.stem[1](stem_0)
        inner = model.body[0](stem.relu())
        body = model.body[1](inner)
        pool = model.pool(body.relu())
        return {"stem.0": stem_0, "stem": stem, "relu": stem.relu(), "body.0": inner, "body": body, "pool": pool}


# ---- truncate


@exercise(LESSON)
def truncate(answer) -> str:
    """Try names at several depths of a tidy model, then models for which such a chain is a lie."""
    for name in ["stem", "stem.0", "body.0", "body.0.0", "body"]:
        model, x = new_model()
        given, before = f"truncate(model, '{name}', x)", model_state(model)
        try:
            chain = answer(model, name, x.clone())
        except ValueError as error:
            raise Wrong(f"{given} raised ValueError ({error}), and this chain tells the truth. {_HOOK}") from error
        if not isinstance(chain, nn.Sequential):
            missing = " Is a `return` missing?" if chain is None else ""
            raise Wrong(f"{given} gave {describe(chain)}; an nn.Sequential is asked.{missing}")
        as_found(model, before, f"After {given}", "Remove the hook that you compare with.")
        _right_chain(model, chain, name, given)
    lies = [("last", "it registers `last` before `first` and calls it after"), ("inner.1", "it calls `first` before")]
    for name, why in lies:
        model, x = new_model(_Residual)
        try:
            chain = answer(model, name, x.clone())
        except ValueError:
            continue
        raise Wrong(
            f"For a model with its own order you gave a chain up to '{name}' without a word, and its numbers are "
            f"wrong: {why}. Compare the chain on x with a hook's values, and raise ValueError."
        )
    return "Five chains that tell the truth, down to three levels deep, and two lies refused."


_HOOK = "Compare with what the submodule `name` itself returns, seen by a hook, and within rounding (torch.allclose)."


def _right_chain(model: Sorter, chain: nn.Sequential, name: str, given: str) -> None:
    x = torch.randn(3, 3, 7, 7)
    parts = _parts(model, x)
    parts["body.0.0"] = model.body[0][0](parts["relu"])
    true = parts[name]
    try:
        got = chain(x.clone())
    except RuntimeError as error:
        what = f"{given} gave a chain that raised: {str(error).splitlines()[0]}."
        raise Wrong(f"{what} Is all that runs before '{name}' in it?") from error
    if {id(p) for p in chain.parameters()} - {id(p) for p in model.parameters()}:
        raise Wrong(f"{given} gave a chain of copies. Put the model's own submodules in: they are to train together.")
    if got.shape == true.shape and torch.allclose(got, true, atol=1e-6):
        return
    top = name.split(".")[0]
    if name != top and got.shape == parts[top].shape and torch.allclose(got, parts[top], atol=1e-6):
        why = f"It gives what '{top}' gives, and '{name}' is inside it. Go down: inside '{top}' the same begins anew."
    elif torch.equal(got, x):
        why = "It is empty and gives back its input. The submodule itself belongs in it."
    else:
        last = [other for other, part in parts.items() if part.shape == got.shape and torch.allclose(part, got)]
        why = f"It ends after '{last[0]}'. The last module in it must be '{name}'." if last else _HOOK
    raise Wrong(f"{given} gave {describe(got)} for a new batch, not what '{name}' returns. {why}")


# ---- features_of


class _Failing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ZeroDivisionError("raised by the model itself")


@exercise(LESSON)
def features_of(answer) -> str:
    """Look at the values, at what ran too long, and at the hooks afterwards, also when the model raises."""
    for names in (["stem.0", "body.0"], ["body.0", "stem"], ["stem"], ["pool", "relu"]):
        model, x = new_model()
        parts, given = _parts(model, x), f"features_of(model, x, {names})"
        order, ran = noted(model, x.clone())  # by hooks of the user's own: they must stay
        before, got = model_state(model), answer(model, x.clone(), list(names))
        as_found(model, before, f"After {given}", "Keep the handles and remove each of them, no others.")
        if not isinstance(got, dict) or set(got) != set(names):
            keys = f"a dict with the keys {list(got)}" if isinstance(got, dict) else describe(got)
            hint = _LATE if isinstance(got, dict) else " Is a `return` missing?" if got is None else ""
            raise Wrong(f"{given} gave {keys}; a dict with {names} is asked.{hint}")
        for name in names:
            _right_feature(got[name], parts[name], name, given)
        if "" in ran:
            raise Wrong(f"{given} ran the model to its end. When the last of them is there, raise in the hook.")
        last = max(map(order.index, names)) + 1
        if late := ran[last:]:
            raise Wrong(f"{given} ran on when it had all: {', '.join(late)}. Raise in the hook that fills the dict.")
    return _forward_that_raises(answer)


_LATE = " Stopped too early, or all kept under one name? Stop when the dict is full, in whatever order they were asked."


def _right_feature(got, true: Tensor, name: str, given: str) -> None:
    if not isinstance(got, Tensor):
        raise Wrong(f"{given}['{name}'] is {describe(got)}; what '{name}' returned is asked.")
    if got.shape == true.shape and torch.allclose(got, true, atol=1e-6):
        return
    if got.shape == true.shape and torch.allclose(got, true.relu(), atol=1e-6):
        why = "Its negative values are gone: the in-place ReLU behind it wrote over them. Keep output.clone()."
    elif name == "relu":
        why = "`relu` runs twice; the first call is asked. Keep a name only once."
    else:
        why = "It is another submodule's: a function made in a loop reads the loop's name when it runs, at the end."
    raise Wrong(f"{given}['{name}'] is {describe(got)}, with other values. {why}")


def _forward_that_raises(answer) -> str:
    model, x = new_model()
    model.pool = _Failing()
    before = model_state(model)
    try:
        answer(model, x, ["stem", "fc"])
    except ZeroDivisionError:
        as_found(model, before, "After a forward that raised by itself", "Remove them in a `finally`.")
    except Exception as error:
        raise Wrong(f"The model raised ZeroDivisionError and you made {type(error).__name__} of it.") from error
    else:
        raise Wrong("The model raised an error of its own, and you hid it. Catch an exception class of your own only.")
    return (
        "Right before an in-place ReLU, in any order, no further than needed, and no hook stays when a forward raises."
    )
