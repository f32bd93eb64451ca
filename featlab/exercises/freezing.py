"""Checks of lesson 07: a freeze that holds, features computed once, a freeze on the way, a new head in order."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featlab.exercises import Wrong, describe, exercise
from featlab.samples import digits, low_digits_net
from featlab.states import changed, model_state

LESSON = "07_frozen_or_finetuned"


def _task(number: int = 128) -> tuple[Tensor, Tensor]:
    """Return digits 5 to 9 with labels 0 to 4."""
    images, labels = digits().train
    kept = labels >= 5
    return images[kept][:number], labels[kept][:number] - 5


def _backbone() -> nn.Sequential:
    """Return (N, 1, 8, 8) -> (N, 32), trained on other digits, in train mode."""
    torch.manual_seed(0)  # `judge` puts the generator back
    net = low_digits_net().train()
    return nn.Sequential(net.stem, net.block1, net.block2, net.head.pool, net.head.flatten)


def _epoch(model: nn.Module, optimizer: torch.optim.Optimizer, *, to_none: bool = True) -> None:
    """Train as somebody else's loop does: train() first, then steps."""
    images, labels = _task()
    model.train()
    for x, y in zip(images.split(32), labels.split(32), strict=True):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad(set_to_none=to_none)
        loss.backward()
        optimizer.step()


def _unmoved(before: dict, after: dict, prefix: str | tuple[str, ...], given: str) -> None:
    hints = {
        "parameters": "An optimizer moves what has a gradient. Does none require grad, and has each lost its .grad?",
        "buffers": "Running statistics move in train mode, whatever requires_grad says.",
    }
    for kind, hint in hints.items():
        if moved := [name for name in changed(before[kind], after[kind]) if name.startswith(prefix)]:
            raise Wrong(f"{given} {len(moved)} {kind} have moved, {moved[0]} among them. {hint}")


def _learned(before: dict, after: dict, prefix: str, given: str) -> None:
    names = [name for name in after["parameters"] if name.startswith(prefix)]
    if not names or any(name not in changed(before["parameters"], after["parameters"]) for name in names):
        raise Wrong(f"{given} the {prefix} has not learned. Is it in the optimizer, and does it require grad?")


@exercise(LESSON)
def hold_still(answer) -> str:
    """Put the answer's module into a model, and let a foreign loop train that."""
    backbone = _backbone()
    got = answer(backbone)
    if not isinstance(got, nn.Module):
        missing = " Is a `return` missing?" if got is None else ""
        raise Wrong(f"hold_still(module) gave {describe(got)}; the module is asked.{missing}")
    if type(got) is not nn.Sequential:
        raise Wrong(
            f"It was a Sequential, and is {describe(got)} now. Its class stays what it is: what can an instance have?"
        )
    model = nn.ModuleDict({"backbone": got, "head": nn.Linear(32, 5)})
    model.forward = lambda x: model["head"](model["backbone"](x))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.01)
    before = model_state(model)
    try:
        for _ in range(2):
            _epoch(model, optimizer)
    except TypeError as error:
        raise Wrong(
            f"model.train() raised TypeError: {error}. A parent calls child.train(mode) with its mode."
        ) from error
    after = model_state(model)
    _unmoved(before, after, "backbone", "After two epochs of a loop that calls model.train(),")
    if wrong := [name for name, part in model["backbone"].named_modules() if part.training]:
        raise Wrong(
            f"After model.train() {len(wrong)} submodules of it are in train mode again: {wrong[0] or 'itself'}."
        )
    _learned(before, after, "head", "With your module in the model,")
    model.eval()
    if not model["head"].training and model.train()["head"].training:
        return "Parameters, statistics and flags hold, and the head beside it still follows train() and eval()."
    raise Wrong("The head beside it does not follow train() and eval() any more. Hold the module only.")


@exercise(LESSON)
def head_on_cache(answer) -> str:
    """Count the backbone's forwards, and hold the head against one that was trained the slow way."""
    backbone, (images, labels) = _backbone(), _task()
    backbone[0].bn.eval()  # somebody keeps it there
    calls: list[tuple[int, bool]] = []
    in_train = lambda module: any(part.training for part in module.modules())  # noqa: E731
    backbone.register_forward_hook(lambda module, args, output: calls.append((len(args[0]), in_train(module))))
    before = model_state(backbone)
    head = answer(backbone, images, labels)
    if not isinstance(head, nn.Module):
        missing = " Is a `return` missing?" if head is None else ""
        raise Wrong(f"head_on_cache gave {describe(head)}; the trained head, an nn.Module, is asked.{missing}")
    seen = sum(number for number, _ in calls)
    if seen > len(images):
        raise Wrong(f"{seen} images went through the backbone; {len(images)} are there. Compute the features once.")
    if not calls:
        raise Wrong("Nothing went through the backbone. The head learns from its features.")
    if any(training for _, training in calls):
        raise Wrong(
            "The features were computed in train mode: they depend on their batch mates, and the statistics moved."
        )
    after = model_state(backbone)
    _unmoved(before, after, "", "After training the head")
    if switched := changed(before["modes"], after["modes"]):
        raise Wrong(
            f"In another mode than you found it in: '{switched[0]}' of the backbone ({len(switched)} in all). "
            "One part was in eval, the rest in train. Put each flag back: fl.evaluating."
        )
    with torch.no_grad():
        features = backbone.eval()(images)
        scores = head(features)
    right = (scores.argmax(1) == labels).float().mean().item()
    if right < 0.7:
        raise Wrong(
            f"The head reads {right:.0%} of what it was trained on. Train longer: a step costs nearly nothing now."
        )
    return f"One look at each image, and the head reads {right:.0%} of the training digits."


@exercise(LESSON)
def freeze_now(answer) -> str:
    """Train, let the answer freeze a part, and train on in a loop that keeps zero gradients."""
    backbone = _backbone()
    model = nn.Sequential(backbone, nn.Linear(32, 5))
    for make in (
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
        lambda p: torch.optim.AdamW(p),
    ):
        optimizer = make(model.parameters())
        _epoch(model, optimizer, to_none=False)
        answer(model[0], optimizer)
        before, rest = model_state(model[0]), model_state(model[1])
        _epoch(model, optimizer, to_none=False)
        _unmoved(before, model_state(model[0]), "", f"After one more epoch with {type(optimizer).__name__}")
        _learned(rest, model_state(model[1]), "weight", "After the freeze")
        backbone = _backbone()
        model = nn.Sequential(backbone, nn.Linear(32, 5))
    return "Neither a gradient left over, nor momentum, nor weight decay, nor BatchNorm moves it any more."


@exercise(LESSON)
def for_five(answer) -> str:
    """Look at what is frozen, what the optimizer holds, and what an epoch moves."""
    net = low_digits_net()
    net.head.linear = nn.Linear(32, 9)  # the old task had nine classes
    given = answer(net, 5)
    if not isinstance(given, tuple) or len(given) != 2:
        raise Wrong(f"for_five gave {describe(given)}; two are asked: the network and its optimizer.")
    net, optimizer = given
    if getattr(net.head.linear, "out_features", None) != 5:
        raise Wrong(f"The head tells {getattr(net.head.linear, 'out_features', 'nothing')} classes apart; 5 are asked.")
    wanted = {id(p) for p in net.head.linear.parameters()}
    if not all(p.requires_grad for p in net.head.linear.parameters()):
        raise Wrong(
            "The new head is frozen, too: backward() has nothing to do. What comes first, the freeze or the head?"
        )
    if learn := [name for name, p in net.named_parameters() if p.requires_grad and id(p) not in wanted]:
        raise Wrong(f"{len(learn)} parameters besides the head require grad, {learn[0]} among them.")
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if not wanted <= held:
        raise Wrong("The optimizer does not hold the new head: it was built before, or given something else.")
    before = model_state(net)
    _epoch(net, optimizer)
    after = model_state(net)
    _learned(before, after, "head.linear", "After an epoch")
    _unmoved(before, after, ("stem", "block1", "block2"), "After an epoch")
    return "Only the new head learns, the optimizer holds it, and the rest stays, statistics and all."
