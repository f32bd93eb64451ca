"""Checks of lesson 02: a derivative by hand, what is kept, a switch that cannot leak, gradients that add up."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from featlab.exercises import Wrong, describe, exercise, with_block

LESSON = "02_autograd"


@exercise(LESSON)
def numerical_gradient(answer) -> str:
    """Compare with autograd, in double precision, on functions the learner has not seen."""
    torch.manual_seed(0)  # `judge` puts the generator back
    functions = {
        "x.pow(2).sum()": lambda x: x.pow(2).sum(),
        "x.sin().prod()": lambda x: x.sin().prod(),
        "(x @ x).exp().mean()": lambda x: (x @ x).div(9).exp().mean(),
    }
    for said, function in functions.items():
        x = torch.randn(3, 3, dtype=torch.float64)
        given, wanted = x.clone(), torch.autograd.functional.jacobian(function, x)
        got = answer(_unrecorded(function, said), given)
        if not isinstance(got, Tensor) or got.shape != x.shape:
            missing = " Is a `return` missing?" if got is None else ""
            raise Wrong(f"For {said} you gave {describe(got)}; a tensor of shape (3, 3) is asked.{missing}")
        got = got.to(wanted)  # float32 holds four digits, too
        if not torch.equal(given, x):
            raise Wrong(f"For {said} the x that you were given holds other values afterwards. Work on a clone.")
        if torch.allclose(got, 2 * wanted, rtol=1e-3) or torch.allclose(got, wanted / 2, rtol=1e-3):
            raise Wrong(f"For {said} you are off by a factor of two. How far apart are the two points?")
        if torch.allclose(got, -wanted, rtol=1e-3):
            raise Wrong(f"For {said} the sign is the other one. Which point comes first?")
        if not torch.allclose(got, wanted, rtol=1e-4, atol=1e-6):
            how = (
                "close, but not to four digits: step to both sides"
                if torch.allclose(got, wanted, rtol=0.1)
                else "far off"
            )
            raise Wrong(f"For {said} you gave {got[0, 0]:.4f} in the corner and it is {wanted[0, 0]:.4f}: {how}.")
    return "Three functions, to four digits, without autograd."


def _unrecorded(function: Callable[[Tensor], Tensor], said: str) -> Callable[[Tensor], Tensor]:
    """Return the function as one that autograd cannot look into."""

    def call(x: Tensor) -> Tensor:
        if x.requires_grad:
            raise Wrong(f"For {said} your x requires grad: that is autograd. Move one element at a time instead.")
        with torch.no_grad():
            return function(x)

    return call


@exercise(LESSON)
def kept_bytes(answer) -> str:
    """Ask for what is known: what each operation keeps, also of one tensor that comes twice and of a part."""
    w = torch.ones(1000, requires_grad=True)

    def squared():
        y = w.exp()
        return (y * y).sum()  # kept by exp, and by the product twice

    cases = {
        "w.exp().sum()": (lambda: w.exp().sum(), 4000),
        "(w * 2).sum()": (lambda: (w * 2).sum(), 0),
        "w.sin().exp().sum()": (lambda: w.sin().exp().sum(), 8000),
        "(w.exp() + w.exp()).sum()": (lambda: (w.exp() + w.exp()).sum(), 8000),
        "w.double().exp().sum()": (lambda: w.double().exp().sum(), 8000),
        "y = w.exp(), then (y * y).sum()": (squared, 12000),
        "w[:10].sin().sum()": (lambda: w[:10].sin().sum(), 40),
    }
    for said, (run, wanted) in cases.items():
        got = answer(run)
        if not isinstance(got, int | float) or isinstance(got, bool):
            missing = " Is a `return` missing?" if got is None else ""
            raise Wrong(f"For {said} you gave {describe(got)}; a number of bytes is asked.{missing}")
        if got == wanted:
            continue
        if wanted and got in (wanted / 4, wanted / 8):
            raise Wrong(f"For {said} you gave {got}: elements, it seems. A float32 takes four bytes: nbytes.")
        if wanted and got == wanted // 4000:
            raise Wrong(f"For {said} you gave {got}: tensors, it seems. How many bytes does each hold?")
        if run is squared and got == 4000:
            raise Wrong(f"For {said} you gave {got}: y once. It is handed over three times, and each counts.")
        if wanted == 40 and got == 4000:
            raise Wrong(f"For {said} you gave {got}: all of w's storage. The tensor itself has 40 bytes: nbytes.")
        raise Wrong(
            f"For {said} you gave {got} bytes; autograd keeps {wanted}. Which hook sees each tensor that it keeps?"
        )
    if answer(lambda: w.exp().sum().backward()) != 4000:
        raise Wrong("With a backward() in the run you count something else. `pack` returns what `unpack` needs.")
    with torch.no_grad():
        if answer(lambda: w.exp().sum()):
            raise Wrong("Under no_grad nothing is kept, and you counted something. Count inside the hook.")
    return "Counted by the hook that sees every tensor on its way into the graph."


@exercise(LESSON)
def in_pieces(answer) -> str:
    """Compare the gradients of small pieces with those of the whole batch."""
    torch.manual_seed(0)
    for pieces, size in ((1, 8), (4, 8), (3, 7)):
        model, twin = nn.Linear(5, 3), nn.Linear(5, 3)
        twin.load_state_dict(model.state_dict())
        x, y = torch.randn(size, 5), torch.randint(3, (size,))
        nn.functional.cross_entropy(twin(x), y).backward()
        calls: list[int] = []
        waiting: list[int] = []  # how many graphs wait for their backward when a forward ends

        def count(module, args, output, calls=calls, waiting=waiting):
            calls.append(len(args[0]))
            waiting.append(1 + (waiting[-1] if waiting else 0))
            if output.requires_grad:
                output.register_hook(lambda grad: waiting.append(waiting[-1] - 1))

        model.register_forward_hook(count)
        answer(model, x, y, pieces)
        said = f"With {size} samples in {pieces} pieces"
        if model.weight.grad is None:
            raise Wrong(f"{said} the model has no gradient. Call backward() for each piece.")
        if len(calls) != pieces or sum(calls) != size:
            raise Wrong(f"{said} the forwards had {calls} samples. Each sample goes through once.")
        if torch.allclose(model.weight.grad, pieces * twin.weight.grad, atol=1e-6) and pieces > 1:
            raise Wrong(f"{said} the gradient is {pieces} times too large: means of pieces were added up.")
        if not torch.allclose(model.weight.grad, twin.weight.grad, atol=1e-6):
            why = (
                "Pieces of unequal size weigh by their size."
                if size % pieces
                else "Gradients add up: nothing may clear them between."
            )
            raise Wrong(f"{said} the gradient is not the whole batch's. {why}")
        if max(waiting) > 1:
            raise Wrong(
                f"{said} the gradient is right, but {max(waiting)} graphs waited in memory at once. "
                "Call backward() for each piece."
            )
    return "The whole batch's gradient, with one piece in memory at a time."


@exercise(LESSON)
def quietly(answer) -> str:
    """Enter it, nest it, raise in it, and look at the switch afterwards."""
    for before in (True, False):
        for error in (None, ZeroDivisionError, KeyboardInterrupt):
            torch.set_grad_enabled(before)
            inside = None
            try:
                with with_block(answer(), "quietly()"):
                    inside = torch.is_grad_enabled()
                    if error:
                        raise error
            except (ZeroDivisionError, KeyboardInterrupt):
                pass
            else:
                if error:
                    raise Wrong(f"The block raised {error.__name__}, and you hid it. Let it pass.")
            after = torch.is_grad_enabled()
            torch.set_grad_enabled(True)
            if inside is not False:
                raise Wrong("Inside the block autograd still recorded.")
            if after is not before:
                how = f", after a {error.__name__}" if error else ""
                raise Wrong(f"Grad mode was {before} before the block and is {after} behind it{how}. Who puts it back?")
    return "Off inside, as found outside, whatever happened in the block."
