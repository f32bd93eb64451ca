"""Check of lesson 06: BatchNorm by hand, in both modes."""

import copy

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from featlab.exercises import Wrong, describe, exercise
from featlab.exercises.modes import LESSON, RETURN


@exercise(LESSON)
def batch_norm(answer) -> str:
    """Compare outputs and running statistics with those of torch's layer, in both modes."""
    torch.manual_seed(6)
    for make, shape, options in [
        (nn.BatchNorm2d, (5, 3, 4, 6), {}),
        (nn.BatchNorm2d, (2, 4, 3, 3), {"momentum": 0.4, "eps": 0.1}),
        (nn.BatchNorm1d, (6, 3), {"momentum": 0.25}),
    ]:
        layer = make(shape[1], **options).requires_grad_(False)
        for values in (layer.weight, layer.bias, layer.running_mean):
            values.normal_()
        layer.running_var.uniform_(0.5, 2)
        for mode in ("eval", "train"):
            for _ in range(2):  # the second time from statistics that have moved
                x = 2 * torch.randn(shape) + 1
                _one_batch(answer, layer.train(mode == "train"), x, f"For {tuple(shape)} in {mode} mode")
    return "As torch's, in both modes, for four axes and for two, and the running statistics as well."


def _one_batch(answer, layer: nn.Module, x: Tensor, given: str) -> None:
    twin, kept, flag = copy.deepcopy(layer), x.clone(), layer.training
    was_mean, was_var, held = layer.running_mean.clone(), layer.running_var.clone(), layer.running_mean
    true = twin(x)
    with _Calls() as called:
        got = answer(x, layer)
    if called.names:
        raise Wrong(
            f"{given} torch's {called.names[0]} was called, by you or by the layer. "
            "Compute it from the layer's weight, bias, eps and statistics."
        )
    if not isinstance(got, Tensor) or got.shape != true.shape:
        raise Wrong(f"{given} you gave {describe(got)}; a tensor like x is asked.{RETURN if got is None else ''}")
    if not torch.allclose(got, true, atol=1e-4):
        raise Wrong(f"{given} the output is not torch's. {_why_not(got, x, layer, was_mean, was_var)}")
    if not torch.equal(x, kept) or layer.training != flag:
        raise Wrong(f"{given} your code wrote into {'x' if layer.training == flag else 'the flag'}. Only read it.")
    if layer.running_mean is not held:
        raise Wrong(f"{given} running_mean is another tensor now. Write into the old one: `lerp_`, `copy_` or `+=`.")
    for name, was in {"running_mean": was_mean, "running_var": was_var}.items():
        now, right = getattr(layer, name), getattr(twin, name)
        if not torch.allclose(now, right, atol=1e-5):
            raise Wrong(f"{given} layer.{name} is not torch's. {_why_moved(now, was, right, x, layer)}")


class _Calls(TorchFunctionMode):
    """Note each call of torch's own batch norm, whoever makes it."""

    def __init__(self):
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if "batch_norm" in (name := getattr(func, "__name__", "")):
            self.names.append(name)
        return func(*args, **(kwargs or {}))


def _axes(x: Tensor) -> tuple[list[int], list[int]]:
    return [0, *range(2, x.ndim)], [1, -1] + [1] * (x.ndim - 2)


def _why_not(got: Tensor, x: Tensor, layer: nn.Module, was_mean: Tensor, was_var: Tensor) -> str:
    axes, shape = _axes(x)

    def near(mean: Tensor, var: Tensor, eps: float = layer.eps) -> bool:
        z = (x - mean.view(shape)) / (var.view(shape) + eps).sqrt()
        return torch.allclose(got, z * layer.weight.view(shape) + layer.bias.view(shape), atol=1e-4)

    mean, biased, unbiased = x.mean(axes), x.var(axes, correction=0), x.var(axes, correction=1)
    if layer.training and near(was_mean, was_var):
        return "These are the running statistics; in train mode the batch's are used."
    if not layer.training and (near(mean, biased) or near(mean, unbiased)):
        return "These are the batch's statistics; in eval mode the running ones are used. Ask layer.training."
    if near(mean, unbiased):
        return "The variance that normalises is divided by n: correction=0."
    if near(layer.running_mean, layer.running_var):
        return "Normalise by the batch's own statistics, not by the running ones after they moved."
    mean, var = (mean, biased) if layer.training else (was_mean, was_var)
    if near(mean, var, 0.0) or near(mean, var, 1e-5):
        return "Add layer.eps to the variance, before the root."
    z = (x - mean.view(shape)) / (var.view(shape) + layer.eps).sqrt()
    if torch.allclose(got, z, atol=1e-4):
        return "Multiply by layer.weight and add layer.bias at the end."
    if torch.allclose(got, (z * (var.view(shape) + layer.eps).sqrt()) * layer.weight.view(shape), atol=1e-4):
        return "Divide by the root of the variance."
    return "One mean and one variance per channel: over all axes but axis 1, with the root of (variance + eps)."


def _why_moved(now: Tensor, was: Tensor, right: Tensor, x: Tensor, layer: nn.Module) -> str:
    axes, _ = _axes(x)
    if not layer.training:
        return "In eval mode nothing moves."
    if torch.allclose(now, was, atol=1e-6):
        return "In train mode it moves at every call, and yours stood still."
    m, full = layer.momentum, was + (right - was) / layer.momentum  # what the batch itself has
    if torch.allclose(now, was + (1 - m) * (full - was), atol=1e-5):
        return "PyTorch's momentum is the weight of the new batch: (1 - momentum) · old + momentum · new."
    if torch.allclose(now, full, atol=1e-5):
        return "It was replaced by the batch's; it moves towards it by the share layer.momentum only."
    if torch.allclose(now, was + m * (x.var(axes, correction=0) - was), atol=1e-5):
        return "The variance that is collected is the unbiased one: correction=1."
    if torch.allclose(now, was + 0.1 * (full - was), atol=1e-5):
        return "Its momentum is not 0.1: read layer.momentum."
    return "old + momentum · (new - old), with the batch's mean, and its unbiased variance."
