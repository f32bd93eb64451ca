"""Random trees and random sequences of switching and copying, against a plain model of what must be true."""

import copy
import io
import pickle
from dataclasses import dataclass, field

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from featlab.switches import evaluating, freeze, is_frozen, modes, unfreeze

KINDS = {
    "linear": lambda: nn.Linear(2, 2),
    "norm": lambda: nn.BatchNorm1d(2),
    "dropout": nn.Dropout,
    "layer norm": lambda: nn.LayerNorm(2),
}
SHAPES = st.recursive(st.sampled_from(list(KINDS)), lambda below: st.lists(below, min_size=1, max_size=3), max_leaves=6)
ACTS = ("train", "eval", "freeze", "unfreeze", "learn", "stop", "flag", "evaluating", "head")
WAYS = ("deepcopy", "pickle", "torch.save", "state_dict", "step")


@dataclass
class Twin:
    """What must be true of one submodule, without a line of torch."""

    below: list["Twin"] = field(default_factory=list)
    learnable: list[bool] = field(default_factory=list)
    training: bool = True
    frozen: bool = False
    was_training: bool = False
    was_learnable: list[bool] = field(default_factory=list)

    def all(self) -> list["Twin"]:
        return [self, *(twin for child in self.below for twin in child.all())]

    def train(self, mode: bool) -> None:
        for twin in self.all():
            twin.training = mode and not twin.frozen

    def freeze(self) -> None:
        for twin in self.all():
            if not twin.frozen:
                twin.frozen, twin.was_training, twin.was_learnable = True, False, [False] * len(twin.learnable)
            twin.was_training |= twin.training
            twin.was_learnable = [a or b for a, b in zip(twin.was_learnable, twin.learnable, strict=True)]
            twin.training, twin.learnable = False, [False] * len(twin.learnable)

    def unfreeze(self) -> None:
        for twin in self.all():
            if twin.frozen:
                twin.frozen, twin.training = False, twin.was_training
                twin.learnable = [a or b for a, b in zip(twin.was_learnable, twin.learnable, strict=True)]


def build(shape) -> tuple[nn.Module, Twin]:
    if isinstance(shape, str):
        module = KINDS[shape]()
        return module, Twin(learnable=[True] * len(list(module.parameters())))
    pairs = [build(part) for part in shape]
    return nn.Sequential(*(module for module, _ in pairs)), Twin(below=[twin for _, twin in pairs])


def do(act: str, module: nn.Module, twin: Twin) -> None:
    if act in ("train", "eval"):
        assert module.train(act == "train") is module
        twin.train(act == "train")
    elif act in ("freeze", "unfreeze"):
        assert {"freeze": freeze, "unfreeze": unfreeze}[act](module) is module
        twin.freeze() if act == "freeze" else twin.unfreeze()
    elif act in ("learn", "stop"):
        module.requires_grad_(act == "learn")
        for one in twin.all():
            one.learnable = [act == "learn"] * len(one.learnable)
    elif act == "flag":  # by hand, on this one only
        module.training = twin.training = not twin.training
    elif act == "evaluating":
        with evaluating(module):
            assert modes(module).summary.endswith("eval") and "mixed" not in modes(module).summary
    elif isinstance(module, nn.Sequential):  # a new head in place of the last submodule
        module[-1] = nn.BatchNorm1d(2)
        twin.below[-1] = Twin(learnable=[True, True])


def copied(way: str, model: nn.Module) -> nn.Module:
    if way == "deepcopy":
        return copy.deepcopy(model)
    if way == "pickle":
        return pickle.loads(pickle.dumps(model))
    if way == "torch.save":
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        return torch.load(file, weights_only=False)
    if way == "state_dict":
        model.load_state_dict({name: value.clone() for name, value in model.state_dict().items()})
    return model


def step(model: nn.Module) -> None:
    """Run one step of the usual loop: what is frozen and does not learn again must not move."""
    held = [module for module in model.modules() if is_frozen(module) and not module.training]
    tensors = [tensor for module in held for tensor in [*module._parameters.values(), *module._buffers.values()]]
    tensors = [tensor for tensor in tensors if tensor is not None and not tensor.requires_grad]
    before = [tensor.clone() for tensor in tensors]
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1) if list(model.parameters()) else None
    loss = model(torch.randn(4, 2)).square().sum()
    if loss.requires_grad:
        loss.backward()
    if optimizer:
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
    assert all(map(torch.equal, before, tensors))


def check(model: nn.Module, twin: Twin) -> None:
    modules, twins = list(model.modules()), twin.all()
    assert [module.training for module in modules] == [one.training for one in twins]
    assert [is_frozen(module) for module in modules] == [one.frozen for one in twins]
    learnable = [[p.requires_grad for p in module.parameters(recurse=False)] for module in modules]
    assert learnable == [one.learnable for one in twins]
    # a mark refers to its own module, also in a copy
    assert all(vars(module)["train"].module is module for module in modules if is_frozen(module))
    assert ["train" in vars(module) for module in modules] == [one.frozen for one in twins]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(shape=st.lists(SHAPES, min_size=1, max_size=3), data=st.data())
def test_any_sequence_of_switching_and_copying_leaves_what_must_be_true(shape, data):
    torch.manual_seed(0)
    model, twin = build(shape)
    for act in data.draw(st.lists(st.sampled_from(ACTS * 3 + WAYS), min_size=5, max_size=25)):
        if act in WAYS:
            original, model = model, copied(act, model)
            if act == "step":
                step(model)
            elif original is not model:
                check(original, twin)
        else:
            place = data.draw(st.integers(0, len(twin.all()) - 1))
            keys = list(model.state_dict())
            do(act, list(model.modules())[place], twin.all()[place])
            assert act == "head" or list(model.state_dict()) == keys
        check(model, twin)
    do("unfreeze", model, twin)
    assert not any(is_frozen(module) for module in model.modules())
    check(model, twin)
