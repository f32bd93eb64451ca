"""Checks of lesson 03: a std from a shape, any model started, units that never speak, a start that data decides."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featlab.exercises import Wrong, describe, exercise

LESSON = "03_layers_and_init"


@exercise(LESSON)
def expected_std(answer) -> str:
    """Ask for weights of several shapes, where fan_in, fan_out and the number of channels differ."""
    for shape in ((7, 50), (50, 7), (8, 3, 5, 5), (16, 4, 3), (2, 3, 2, 2, 2)):
        fan_in, fan_out = math.prod(shape[1:]), shape[0] * math.prod(shape[2:])
        wanted, got = math.sqrt(2 / fan_in), answer(torch.zeros(shape))
        if not isinstance(got, int | float | Tensor) or (isinstance(got, Tensor) and got.numel() != 1):
            missing = " Is a `return` missing?" if got is None else ""
            raise Wrong(f"For shape {shape} you gave {describe(got)}; a number is asked.{missing}")
        got = float(got)
        slips = {
            math.sqrt(2 / fan_out): "that counts what reads the unit (fan_out), not what it reads",
            math.sqrt(2 / shape[1]): "a window has more than one number of each channel",
            math.sqrt(2 / math.prod(shape)): "one unit reads one row of the weight, not all of it",
            math.sqrt(1 / fan_in): "the gain of ReLU is missing",
            2 / fan_in: "that is the variance",
            math.sqrt(fan_in / 2): "it is upside down",
            1 / math.sqrt(3 * fan_in): "that is nn.Linear's own",
        }
        if not math.isclose(got, wanted, rel_tol=1e-4):
            near = "measured on a draw, it seems; compute it" if math.isclose(got, wanted, rel_tol=0.1) else "far off"
            why = next((why for value, why in slips.items() if math.isclose(got, value, rel_tol=1e-4)), near)
            raise Wrong(f"For a weight of shape {shape} you gave {got:.4f} and it is {wanted:.4f}: {why}.")
    return "Linear layers and windows of one, two and three axes."


def _mixed() -> nn.Module:
    model = nn.Sequential(
        nn.Embedding(30, 40),
        nn.Sequential(nn.Conv1d(40, 64, 3), nn.BatchNorm1d(64), nn.ReLU()),
        nn.ModuleDict(
            {"inner": nn.Sequential(nn.Conv2d(8, 64, 5, bias=False), nn.Conv3d(4, 64, 3)), "norm": nn.LayerNorm(9)}
        ),
        nn.Linear(300, 200),
        nn.Linear(200, 300, bias=False).eval(),
    )
    model[1][1].weight.data.fill_(3)
    model[4].weight.requires_grad_(False)
    return model


@exercise(LESSON)
def start_all(answer) -> str:
    """Start a model with parts at several depths, without biases, frozen, and with what is to stay."""
    torch.manual_seed(1)  # `judge` puts the generator back
    model = _mixed()
    held = dict(model.named_parameters())
    before = {name: p.detach().clone() for name, p in held.items()}
    asks, flags = {name: p.requires_grad for name, p in held.items()}, [m.training for m in model.modules()]
    answer(model)
    if [m.training for m in model.modules()] != flags:
        raise Wrong("Modes have been switched. A start needs none.")
    for name, now in model.named_parameters():
        if now is not held.get(name):
            raise Wrong(f"{name} is another parameter now; an optimizer would not know it. Fill the old one in place.")
        if now.requires_grad != asks[name] or now.grad_fn is not None:
            raise Wrong(f"{name} has another requires_grad than before, or a history. nn.init changes neither.")
    for name, module in model.named_modules():
        layer = isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
        for key, now in module.named_parameters(recurse=False):
            full, same = f"{name}.{key}", torch.equal(now, before[f"{name}.{key}"])
            if not layer and not same:
                raise Wrong(f"{full}, of a {type(module).__name__}, was changed; it is to stay.")
            if layer and key == "bias" and now.abs().max() > 0:
                raise Wrong(f"{full} is not zero.")
            if layer and key == "weight" and same:
                raise Wrong(f"{full}, of a {type(module).__name__}, is as it was. Parts can stand at any depth.")
            if layer and key == "weight":
                _like_he(full, now)
    return "Linear and convolutional layers at every depth, and nothing else."


def _like_he(name: str, weight: Tensor) -> None:
    wanted, got = math.sqrt(2 / weight[0].numel()), weight.std().item()
    if not math.isclose(got, wanted, rel_tol=0.06):
        own = math.isclose(got, wanted / math.sqrt(6), rel_tol=0.06)
        why = " That is nn.Linear's own." if own else " Look at fan_in and at the gain."
        raise Wrong(f"{name} has a std of {got:.4f}; He's is {wanted:.4f}.{why}")
    if abs(weight.mean()) > 0.3 * wanted:
        raise Wrong(f"{name} has a mean of {weight.mean():.4f}; it is to be 0.")


@exercise(LESSON)
def silent_units(answer) -> str:
    """Ask for two submodules whose silent units are known, one with channels, in a model whose modes must stay."""
    torch.manual_seed(2)
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(12 * 16, 20), nn.ReLU()
    )
    with torch.no_grad():
        model[0].bias[[1, 4, 5]] = -100
        model[0].weight[7], model[0].bias[7] = 0, 0  # exactly 0 is silent, too
        model[4].bias[:6] = -1000
        model[4].bias[6:] = 0.3  # so that each of these speaks for some sample, whatever Dropout takes away
    model.eval()
    model[2].train()
    x = torch.randn(9, 1, 6, 6)
    with torch.random.fork_rng():
        out = {"1": model[:2](x)}
        out["5"] = model(x)
    for name, wanted in (("1", 4), ("5", 6)):
        flags = [m.training for m in model.modules()]
        got = answer(model, name, x)
        said = f"For '{name}', whose output has shape {tuple(out[name].shape)},"
        if [m.training for m in model.modules()] != flags or any(m._forward_hooks for m in model.modules()):
            raise Wrong(f"{said} the model has other modes or a hook of yours afterwards.")
        if (
            not isinstance(got, int | float | Tensor)
            or isinstance(got, bool)
            or (isinstance(got, Tensor) and got.numel() != 1)
        ):
            missing = " Is a `return` missing?" if got is None else ""
            raise Wrong(f"{said} you gave {describe(got)}; one number is asked.{missing}")
        if float(got) == wanted:
            continue
        zeros, units = out[name] == 0, out[name].shape[1]
        slips = {
            float(zeros.sum()): "single zeros: a unit is silent when it is 0 for all samples and places",
            float(zeros.transpose(0, 1).flatten(1).any(1).sum()): "units that are 0 somewhere; all is asked, not any",
            float(units - wanted): "the units that speak",
            wanted / units: "a share; how many is asked",
            float(zeros.all(0).sum()): "places that are always 0; a unit is a whole channel",
            float(zeros.flatten(1).all(1).sum()): "samples, it seems; units are on axis 1",
        }
        why = next((why for value, why in slips.items() if math.isclose(float(got), value, rel_tol=1e-5)), "not that")
        raise Wrong(f"{said} you gave {float(got):g} and it is {wanted}: {why}.")
    return "A linear layer's units and a convolution's channels."


@exercise(LESSON)
def scale_by_data(answer) -> str:
    """Scale networks of two activations, and compare each layer's signal and direction."""
    torch.manual_seed(3)
    for activation in (nn.ReLU, nn.Tanh):
        model = nn.Sequential(
            nn.Linear(20, 50),
            activation(),
            nn.Linear(50, 60),
            activation(),
            nn.Linear(60, 60),
            activation(),
            nn.Linear(60, 4),
        )
        with torch.no_grad():
            for layer, scale in zip(model[::2], (0.1, 5.0, 0.01, 1.0), strict=True):
                layer.weight.mul_(scale)
                layer.bias.uniform_(-0.5, 0.5)
        x, given = torch.randn(200, 20) + 1, None
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        held, given = list(model.parameters()), x.clone()
        answer(model, x)
        if any(a is not b for a, b in zip(model.parameters(), held, strict=True)):
            raise Wrong("A parameter is another object now. Scale it in place, under torch.no_grad().")
        if not torch.equal(x, given):
            raise Wrong("The x that you were given holds other values afterwards.")
        _scaled(model, before, x, f"With {activation.__name__}")
    return "Each layer's signal is 1, for ReLU and for tanh, by no formula at all."


@torch.no_grad()
def _scaled(model: nn.Module, before: dict[str, Tensor], x: Tensor, said: str) -> None:
    for name, layer in model.named_children():
        given, x = x, layer(x)
        if not isinstance(layer, nn.Linear):
            continue
        if layer.weight.grad_fn is not None or not layer.weight.requires_grad:
            raise Wrong(f"{said} {name}.weight has a history or learns no more. Scale it under torch.no_grad().")
        if not torch.equal(layer.bias, before[f"{name}.bias"]):
            raise Wrong(f"{said} {name}.bias has changed. It is the same for all samples: it carries no signal.")
        old, new = before[f"{name}.weight"].flatten(), layer.weight.flatten()
        if F.cosine_similarity(old, new, dim=0) < 0.9999:
            raise Wrong(f"{said} {name}.weight points elsewhere. One number for the whole weight is asked.")
        signal = x.std(0).square().mean().sqrt().item()
        if math.isclose(signal, 1, rel_tol=0.005):  # the mean of the stds is off by a percent
            continue
        why, returned = "", F.linear(given, old.view_as(layer.weight), layer.bias)
        if torch.equal(old, new):
            why = " Its weight is as it was."
        elif math.isclose(old.norm() / new.norm(), returned.std(0).mean(), rel_tol=1e-3):
            why = " You took the mean of the stds; section 2 takes the root of the mean of their squares."
        elif math.isclose(old.norm() / new.norm(), returned.std(), rel_tol=0.02):
            why = " You divided by the overall std, and the biases are in that. Across the batch, unit by unit."
        elif name != "0":
            why = " Did it get what the scaled layers before it return?"
        raise Wrong(f"{said} layer {name} returns a signal of {signal:.3g}; it is to be 1.{why}")
