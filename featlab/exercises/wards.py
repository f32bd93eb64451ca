"""Checks of lesson 08, part two: networks that are built wrong, judged by how they behave in either mode."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featlab.exercises import Wrong, exercise
from featlab.exercises.clinic import LESSON, batches, falling, moved, new_net, unmoved
from featlab.states import changed, model_state


def _features(net: nn.Module) -> nn.Sequential:
    """Return what a network has below its head, in eval: (N, 1, 8, 8) -> (N, 32, 4, 4)."""
    return nn.Sequential(net.stem, net.block1, net.block2).eval()


def _train(model: nn.Module, data: list) -> list[float]:
    """Train as any loop does: everything that the model calls a parameter, in train mode."""
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise Wrong("Not one parameter of the model requires grad, so nothing of it can learn.")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    model.train()
    losses = []
    for images, labels in data:
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def _output(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x)


def _switches(model: nn.Module, what: str) -> None:
    """Refuse a model whose train() and eval() do not switch everything below it, or return something else."""
    for mode in ("eval", "train", "eval", "train"):
        try:
            returned = getattr(model, mode)()
        except Exception as error:
            raise Wrong(
                f"{what}.{mode}() raised {type(error).__name__}: {error}. nn.Module needs that name."
            ) from error
        if returned is not model:
            raise Wrong(f"{what}.{mode}() gave {type(returned).__name__}; nn.Module's gives the model itself.")
        if wrong := [name for name, part in model.named_modules() if part.training != (mode == "train")]:
            raise Wrong(f"After {what}.{mode}() {len(wrong)} submodules are in the other mode: {wrong[0] or 'itself'}.")


@exercise(LESSON)
def stay_frozen(answer) -> str:
    """A freeze that the next train() undoes."""
    model, data = answer(_features(new_net()), 10), batches()
    if not isinstance(model, nn.Module):
        raise Wrong("A class that makes a model is asked: StayFrozen(backbone, classes).")
    if not isinstance(getattr(model, "backbone", None), nn.Module):
        raise Wrong("model.backbone is the backbone itself, as before: a module, which the model knows as its part.")
    whole = nn.Sequential(model)  # as a part of something larger, as in any framework
    before, losses = model_state(model), _train(whole, data)
    after = model_state(model)
    unmoved(before, after, "parameters", "backbone", "They are to be frozen, as before.")
    unmoved(before, after, "buffers", "backbone", "Somebody called train() on a parent. What does it do to its parts?")
    moved(before, after, "head", "The head")
    for mode, head in {"train": True, "eval": False}.items():
        getattr(whole, mode)()
        wrong = [name for name, part in model.backbone.named_modules() if part.training]
        if wrong:
            raise Wrong(f"After {mode}() of a parent, {len(wrong)} submodules of the backbone are in train mode.")
        if model.training != head or model.head.training != head:
            raise Wrong(f"After {mode}() of a parent, the head does not follow. Only the backbone stays in eval.")
    falling(losses, len(data))
    return "train() of any parent reaches the head, and leaves the backbone in eval."


@exercise(LESSON)
def deep_reader(answer) -> str:
    """Layers that nobody knows of."""
    torch.manual_seed(0)
    model, data = answer(3), batches()
    count, asked = sum(p.numel() for p in model.parameters()), (64 * 32 + 32) + 2 * (32 * 32 + 32) + (32 * 10 + 10)
    if count != asked:
        raise Wrong(f"With 3 hidden layers it has {count} parameters that others can see; it computes with {asked}.")
    _switches(model, "The model")
    before, losses = model_state(model), _train(model, data)
    moved(before, model_state(model), "", "The model")
    twin = answer(3)
    twin.load_state_dict(model.state_dict())
    x = data[0][0]
    if not torch.equal(_output(twin.eval(), x), _output(model.eval(), x)):
        raise Wrong("A twin that loaded its state_dict gives other numbers: some layers are not in it.")
    falling(losses, len(data))
    return "Every layer is seen by parameters(), state_dict(), train() and eval(), and learned."


@exercise(LESSON)
def two_answers(answer) -> str:
    """A network that gives two answers to one question, in eval."""
    torch.manual_seed(0)
    model, data = answer(), batches()
    before, losses, x = model_state(model), _train(model, data), data[0][0]
    after = model_state(model)
    model.train()
    if torch.equal(_output(model, x), _output(model, x)):
        raise Wrong("In train mode two forwards agree now: the dropout is gone. It is wanted, in train mode.")
    model.eval()
    if not torch.equal(_output(model, x), _output(model, x)):
        raise Wrong("In eval two forwards of the same batch differ. Who draws at random, and does it know the mode?")
    if not torch.allclose(_output(model, x)[:9], _output(model, x[:9]), atol=1e-5):
        raise Wrong("In eval a digit's scores depend on its batch mates. Who normalises by the batch, and is it yours?")
    shapes = {tuple(part.shape) for part in model.state_dict().values()}
    if (32,) not in shapes or not any(isinstance(part, nn.BatchNorm1d) for part in model.modules()):
        raise Wrong("The BatchNorm has gone from the model. It is wanted, and its statistics belong in state_dict.")
    if not changed(before["buffers"], after["buffers"]):
        raise Wrong(
            "The BatchNorm's statistics are what they were before training: nothing went through it in train mode."
        )
    moved(before, after, "", "The model")
    falling(losses, len(data))
    return "Random in train mode, in eval the same answer each time, whatever the batch."


@exercise(LESSON)
def named_train(answer) -> str:
    """A model that lost its switch."""
    torch.manual_seed(0)
    model, data = answer(), batches()
    _switches(model, "The model")
    if not callable(getattr(model, "fit", None)):
        raise Wrong("train() and eval() are nn.Module's again. The training loop is asked too, under the name `fit`.")
    seen: list[bool] = []
    model.register_forward_pre_hook(lambda module, args: seen.append(all(part.training for part in module.modules())))
    before, losses = model_state(model), model.eval().fit(data)
    moved(before, model_state(model), "", "The model")
    if not all(seen):
        raise Wrong("`fit` trained a model that was in eval, as a validation had left it. Who switches it back?")
    falling(losses, len(data))
    return "train() and eval() are switches again, and fit() trains."
