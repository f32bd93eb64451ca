"""Lesson 02's exercises: typical wrong answers are told apart, other right ones accepted."""
# ruff: noqa: E501 - one line of the table is one wrong answer

import folded
import pytest

LESSON = "02_autograd"
kernel = folded.kernel(LESSON)
# exercise, what is changed in the solution, into what, what the check says then
WRONG = [
    ("numerical_gradient", "(function(up) - function(down)) / (2 * step)", "(function(up) - function(down)) / step", "factor of two"),
    ("numerical_gradient", "(function(up) - function(down))", "(function(down) - function(up))", "sign is the other one"),
    ("numerical_gradient", "(function(up) - function(down)) / (2 * step)", "(function(up) - function(x)) / step / 2", "factor of two"),
    ("numerical_gradient", "step = torch.zeros_like(x), 1e-5", "step = torch.zeros_like(x), 0.1", "close, but not to four digits"),
    ("numerical_gradient", "step = torch.zeros_like(x), 1e-5", "step = torch.zeros_like(x), 1e-16", "far off"),
    ("numerical_gradient", "    return gradient\n", "", "Is a `return` missing"),
    ("numerical_gradient", "    return gradient\n", "    return gradient.sum()\n", "of shape (3, 3) is asked"),
    ("numerical_gradient", "up, down = x.clone(), x.clone()", "up, down = x, x.clone()", "holds other values afterwards"),
    ("numerical_gradient", "up.view(-1)[i] += step", "up += step", "far off"),
    ("numerical_gradient", "gradient.view(-1)[i] = ", "gradient[:] = ", "far off"),
    ("numerical_gradient", folded.solution(LESSON, "numerical_gradient"), "numerical_gradient = torch.autograd.functional.jacobian\n", "that is autograd"),
    ("numerical_gradient", folded.solution(LESSON, "numerical_gradient"), "def numerical_gradient(function, x):\n    return torch.func.grad(function)(x)\n", "that is autograd"),
    ("kept_bytes", "sizes.append(tensor.nbytes)", "sizes.append(tensor.numel())", "elements, it seems"),
    ("kept_bytes", "sizes.append(tensor.nbytes)", "sizes.append(tensor.untyped_storage().nbytes())", "all of w's storage"),
    ("kept_bytes", folded.solution(LESSON, "kept_bytes"), "def kept_bytes(run):\n    sizes = {}\n    def pack(tensor):\n        sizes[tensor.data_ptr()] = tensor.nbytes\n        return tensor\n    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):\n        run()\n    return sum(sizes.values())\n", "handed over three times"),
    ("kept_bytes", "sizes.append(tensor.nbytes)", "sizes.append(1)", "tensors, it seems"),
    ("kept_bytes", "return sum(sizes)", "return max(sizes, default=0)", "autograd keeps 8000"),
    ("kept_bytes", "return sum(sizes)", "return sizes", "a number of bytes is asked"),
    ("kept_bytes", "    return sum(sizes)\n", "", "Is a `return` missing"),
    ("kept_bytes", "return sum(sizes)", "return sum(sizes) + 4", "autograd keeps 4000"),
    ("kept_bytes", "        run()\n", "        pass\n", "you gave 0 bytes"),
    ("kept_bytes", "    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):\n        run()\n", "    run()\n", "you gave 0 bytes"),
    ("kept_bytes", "        return tensor\n", "", "TypeError"),
    ("kept_bytes", "return sum(sizes)", "return sum(sizes) or 4000", "autograd keeps 0"),
    ("in_pieces", " * len(part) / len(x)", "", "4 times too large"),
    ("in_pieces", " * len(part) / len(x)", " / pieces", "Pieces of unequal size"),
    ("in_pieces", "        loss.backward()\n", "        model.zero_grad()\n        loss.backward()\n", "Gradients add up"),
    ("in_pieces", "        loss.backward()\n", "        pass\n", "has no gradient"),
    ("in_pieces", "        loss.backward()\n", "        pass\n    loss.backward()\n", "is not the whole batch's"),
    ("in_pieces", folded.solution(LESSON, "in_pieces"), "def in_pieces(model, x, y, pieces):\n    F.cross_entropy(model(x), y).backward()\n", "Each sample goes through once"),
    ("in_pieces", folded.solution(LESSON, "in_pieces"), "def in_pieces(model, x, y, pieces):\n    sum(F.cross_entropy(model(part), labels, reduction='sum') / len(x) for part, labels in zip(x.chunk(pieces), y.chunk(pieces))).backward()\n", "graphs waited in memory"),
    ("in_pieces", "model(part)", "model(x)[:len(part)]", "Each sample goes through once"),
    ("in_pieces", "len(part) / len(x)", "len(x) / len(part)", "is not the whole batch's"),
    ("in_pieces", "strict=True):\n", "strict=True):\n        if len(part) < 2: continue\n", "Each sample goes through once"),
    ("quietly", "    try:\n        yield\n    finally:\n        torch.set_grad_enabled(before)\n", "    yield\n    torch.set_grad_enabled(before)\n", "after a ZeroDivisionError"),
    ("quietly", "    try:\n        yield\n    finally:\n        torch.set_grad_enabled(before)\n", "    yield\n", "is False behind it"),
    ("quietly", "torch.set_grad_enabled(before)", "torch.set_grad_enabled(True)", "Grad mode was False before the block and is True"),
    ("quietly", "    torch.set_grad_enabled(False)\n", "", "still recorded"),
    ("quietly", "    finally:\n", "    except Exception:\n        pass\n    finally:\n", "you hid it"),
    ("quietly", "    finally:\n", "    except BaseException:\n        pass\n    finally:\n", "you hid it"),
    ("quietly", "    finally:\n", "    except Exception:\n        torch.set_grad_enabled(before)\n        raise\n    else:\n", "after a KeyboardInterrupt"),
    ("quietly", "@contextmanager\n", "", "can stand behind `with`"),
    ("quietly", "        yield\n", "        pass\n", "but no `yield`"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "old", "new", "said"), WRONG, ids=[f"{name}-{n}" for n, (name, *_) in enumerate(WRONG)]
)
def test_a_wrong_answer_is_told_what_is_wrong(name, old, new, said):
    verdict = folded.checked(LESSON, name, folded.replaced(LESSON, name, old, new))
    assert verdict.status == "not yet" and said in verdict.message, verdict


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("numerical_gradient", folded.replaced(LESSON, "numerical_gradient", "torch.zeros_like(x)", "torch.zeros(x.shape)")),
        ("quietly", "quietly = torch.no_grad"),
        ("quietly", "def quietly():\n    return torch.set_grad_enabled(False)\n"),
        ("in_pieces", "def in_pieces(model, x, y, pieces):\n    for part, labels in zip(x.chunk(pieces), y.chunk(pieces)):\n        F.cross_entropy(model(part), labels, reduction='sum').div(len(x)).backward()\n"),
    ],
)  # fmt: skip
def test_other_right_answers_are_accepted(name, source):
    verdict = folded.checked(LESSON, name, source)
    assert verdict, verdict.message
