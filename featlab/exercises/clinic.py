"""Checks of lesson 08, part one: training scripts, judged by how the network behaves while they run."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from featlab.exercises import Wrong, exercise
from featlab.networks import DigitsNet
from featlab.samples import digits, digits_net
from featlab.states import changed, model_state
from featlab.switches import modes

LESSON = "08_clinic"
Batches = list[tuple[Tensor, Tensor]]


class Call(NamedTuple):
    """One forward, as the network found itself when it began."""

    training: bool  # recorded for a backward, so it is a step of training
    modes: dict[str, str]


def new_net() -> DigitsNet:
    """Return the trained network with a head that has yet to learn, in eval."""
    torch.manual_seed(0)  # `judge` puts the generator back
    net = digits_net()
    net.head.linear.reset_parameters()
    return net


def batches(number: int = 12, *, classes: int = 10) -> Batches:
    """Return batches of 32 digits with labels below `classes`."""
    images, labels = digits().train
    chosen = labels < classes
    return list(zip(images[chosen].split(32), labels[chosen].split(32), strict=True))[:number]


def watched(module: nn.Module) -> list[Call]:
    """Note every forward of a module from now on."""
    calls: list[Call] = []

    def note(module: nn.Module, args: tuple) -> None:
        calls.append(Call(torch.is_grad_enabled(), dict(modes(module))))

    module.register_forward_pre_hook(note)
    return calls


def in_mode(calls: Iterable[Call], training: bool, wanted: str, what: str, advice: str) -> None:
    """Refuse calls of one kind in which a submodule was not in the wanted mode."""
    for number, call in enumerate(call for call in calls if call.training == training):
        if wrong := [name for name, mode in call.modes.items() if mode != wanted]:
            some = ", ".join(name or "the network itself" for name in wrong[:3])
            raise Wrong(
                f"In {what} {number} of the run, {len(wrong)} submodules were not in {wanted} ({some}). {advice}"
            )


def unmoved(before: dict, after: dict, kind: str, parts: str | tuple[str, ...], advice: str) -> None:
    """Refuse values of a kind, in parts of the network, that are not bit for bit what they were."""
    moved = [name for name in changed(before[kind], after[kind]) if name.startswith(parts)]
    if moved:
        raise Wrong(f"{len(moved)} {kind} moved that had to stay, {moved[0]} among them. {advice}")


def moved(before: dict, after: dict, part: str, what: str) -> None:
    """Refuse a part that had to learn, and did not."""
    names = [name for name in before["parameters"] if name.startswith(part)]
    still = set(names) - set(changed(before["parameters"], after["parameters"]))
    if still:
        raise Wrong(f"{what} did not learn: {sorted(still)[0]} is what it was. Is it in the optimizer, and recorded?")


def falling(losses, number: int) -> list[float]:
    """Refuse what is no falling list of losses, one for each step."""
    if not isinstance(losses, list | tuple) or not all(isinstance(loss, float) for loss in losses):
        raise Wrong(f"The script gave {type(losses).__name__}; the list of its losses is asked, as before.")
    if len(losses) != number:
        raise Wrong(f"It gave {len(losses)} losses for {number} steps. Train on every batch, once.")
    third = max(1, number // 3)
    if not sum(losses[-third:]) < 0.97 * sum(losses[:third]):
        raise Wrong(f"The loss did not fall: from {losses[0]:.2f} to {losses[-1]:.2f}. Nothing has been learned.")
    return list(losses)


def heard(net: DigitsNet) -> dict[str, Tensor]:
    """Note the last images that a network was given, and the last features that its head was."""
    last: dict[str, Tensor] = {}
    net.stem.register_forward_pre_hook(lambda module, args: last.update(images=args[0]))
    net.head.register_forward_pre_hook(lambda module, args: last.update(features=args[0].detach()))
    return last


# ---- the patients


@exercise(LESSON)
def train_head(answer) -> str:
    """A frozen backbone that drifts."""
    net, data = new_net(), batches()
    before, calls, last = model_state(net), watched(net), heard(net)
    losses, after = answer(net, data), model_state(net)
    backbone = ("stem", "block1", "block2")
    unmoved(before, after, "parameters", backbone, "The head alone is to learn.")
    unmoved(before, after, "buffers", backbone, "requires_grad has no say in them. Which switch has?")
    moved(before, after, "head", "The head")
    if any(call.training and call.modes["head.dropout"] == "eval" for call in calls):
        raise Wrong("The backbone stays, but the head's Dropout was off while it learned. Only the backbone is frozen.")
    net.eval()
    with torch.no_grad():
        true = net.block2(net.block1(net.stem(last["images"])))
    got = last["features"]
    if got.shape == true.shape and not torch.allclose(got, true, atol=1e-4):
        raise Wrong(
            "The statistics end as they began, but the head learned from features of train mode, which depend on "
            "batch mates; in eval it is given others. In which mode is the backbone while the head learns?"
        )
    falling(losses, len(data))
    return "Parameters and statistics of the backbone are bit for bit what they were, and the head learned."


@exercise(LESSON)
def fit(answer) -> str:
    """A validation that never goes back to training."""
    net, data = new_net(), batches(8)
    before, calls = model_state(net), watched(net)
    curve, after = answer(net, data, batches(4), 3), model_state(net)
    if not isinstance(curve, list | tuple) or len(curve) != 3:
        raise Wrong(
            f"3 epochs were asked, and the script gave {curve!r}; a validation loss for each is asked, as before."
        )
    moved(before, after, "", "The network")
    steps, looks = (sum(call.training == kind for call in calls) for kind in (True, False))
    if steps != 24 or looks != 12:
        raise Wrong(f"24 steps of training and 12 looks without recording were asked; there were {steps} and {looks}.")
    in_mode(calls, True, "train", "training step", "What put it there, and what should have put it back?")
    in_mode(calls, False, "eval", "validation batch", "Validation must not drop units, nor move statistics.")
    counted = after["buffers"]["stem.bn.num_batches_tracked"] - before["buffers"]["stem.bn.num_batches_tracked"]
    if counted != 24:
        raise Wrong(f"BatchNorm counted {counted.item()} batches; 24 were for training.")
    if not all(isinstance(loss, float) for loss in curve) or not curve[-1] < curve[0]:
        raise Wrong(f"The validation losses are {curve}: they are to be what `validate` gives, and to fall.")
    return "Every step of every epoch trained in train mode, and every look was in eval."


@exercise(LESSON)
def new_head(answer) -> str:
    """An optimizer that holds a head which is no longer there."""
    net, data = new_net(), batches(classes=5)
    first: dict[str, Tensor] = {}

    def keep(module: nn.Module, args: tuple) -> None:
        if not first:
            first.update({name: p.detach().clone() for name, p in module.named_parameters()})

    net.register_forward_pre_hook(keep)
    losses = answer(net, data)
    out = getattr(net.head.linear, "out_features", None)
    if out != 5:
        raise Wrong(f"The new head tells {out} digits apart; 5 are asked. It is put in as before.")
    moved({"parameters": first}, model_state(net), "head", "The new head")
    moved({"parameters": first}, model_state(net), "stem", "The backbone")
    falling(losses, len(data))
    return "The optimizer holds the parameters that the network has, and all of them learned."


@exercise(LESSON)
def two_phases(answer) -> str:
    """A part that was frozen on the way, and moves on."""
    net, data, seen = new_net(), batches(8), []
    before, calls = model_state(net), watched(net)
    losses = answer(net, data, lambda net: seen.append(model_state(net)))
    if len(seen) != 1:
        raise Wrong(
            f"`between(net)` is called once, when the stem has just been frozen; it was called {len(seen)} times."
        )
    moved(before, seen[0], "stem", "In the first phase the stem")
    after = model_state(net)
    unmoved(seen[0], after, "parameters", "stem", "Who still holds a gradient for them, and who remembers?")
    unmoved(seen[0], after, "buffers", "stem", "Its parameters stay now. What else is the stem made of?")
    moved(seen[0], after, "block1", "The rest of the network")
    for call in calls:
        for name in [name for name in call.modes if name.split(".")[0] in ("", "stem")]:
            del call.modes[name]
    in_mode(calls, True, "train", "training step", "Only the stem is frozen; the rest trains on in train mode.")
    falling(losses, 16)
    return "From the moment it was frozen, nothing of the stem has moved."


@exercise(LESSON)
def distil(answer) -> str:
    """A teacher that learns from its pupils."""
    student, data = new_net(), batches()
    teacher = digits_net()
    before, pupil = model_state(teacher), model_state(student)
    looks, steps = watched(teacher), watched(student)
    losses, after = answer(student, teacher, data), model_state(teacher)
    unmoved(before, after, "parameters", "", "Nobody is to train the teacher.")
    unmoved(before, after, "buffers", "", "no_grad has no say in them.")
    if not looks:
        raise Wrong("Nobody asked the teacher. The student learns from its answers, as before.")
    moved(pupil, model_state(student), "", "The student")
    for call in looks:
        in_mode([call], call.training, "eval", "answer of the teacher", "It drops units: its answers are noisy.")
    in_mode(steps, True, "train", "training step", "The student is to train in train mode.")
    falling(losses, len(data))
    return "The teacher answers in eval and stays what it was; the student learned from it."


@exercise(LESSON)
def measured(answer) -> str:
    """A look at a feature that switches the network it looks into."""
    net, data = new_net(), batches()
    before, calls, parts = model_state(net), watched(net), watched(net.block1)
    result = answer(net, data)
    if not isinstance(result, tuple) or len(result) != 2:
        raise Wrong("Two lists are asked, as before: the losses, and what was measured after each step.")
    if len(result[1]) != len(data):
        raise Wrong(f"{len(result[1])} features were measured for {len(data)} steps.")
    moved(before, model_state(net), "", "The network")
    in_mode([c for c in calls if c.training], True, "train", "training step", _SHARED)
    in_mode([c for c in parts if c.training], True, "train", "training step", _SHARED)
    in_mode(parts, False, "eval", "look at block1", "A look in train mode depends on batch mates and moves statistics.")
    counted = model_state(net)["buffers"]["stem.bn.num_batches_tracked"]
    with torch.no_grad():
        true = net.eval().block1(net.stem(data[-1][0])).mean().item()
    if not abs(result[1][-1] - true) <= 1e-4 * abs(true):
        raise Wrong(f"The last look gave {result[1][-1]:.4f}; block1 of the network itself gives {true:.4f} in eval.")
    if counted - before["buffers"]["stem.bn.num_batches_tracked"] != len(data):
        raise Wrong("BatchNorm counted other batches than those of training: the look moved its statistics.")
    falling(result[0], len(data))
    return "Every step trained in train mode, every look was in eval, and neither disturbed the other."


_SHARED = "Whose modules are the extractor's?"
