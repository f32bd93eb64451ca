"""Random trees of modules against a plain reference: never a wrong value, never a trace."""

from collections import Counter
from dataclasses import dataclass, field

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from featlab.absences import NeverRan
from featlab.activations import capture, features
from featlab.selectors import every, names


class Broke(Exception):
    pass


class Scale(nn.Module):
    """x * 1.5 - 0.25, in a new tensor; the result may come in a tuple or a dict beside a None."""

    def __init__(self, wrap):
        super().__init__()
        self.wrap = wrap

    def forward(self, x):
        y = x * 1.5 - 0.25
        return {"none": y, "tuple": (y, None), "dict": {"y": y, "n": [None]}}[self.wrap]


class Overwrite(nn.Module):
    """ReLU in place."""

    def forward(self, x):
        return x.relu_()


class Break(nn.Module):
    """Raise at its n-th call."""

    def __init__(self, at, error):
        super().__init__()
        self.at, self.error, self.calls = at, error, 0

    def forward(self, x):
        self.calls += 1
        if self.calls == self.at:
            raise self.error
        return x.clone()


class Block(nn.Module):
    """Call its children in any order, any number of times."""

    def __init__(self, children, order):
        super().__init__()
        for key, child in children.items():
            self.add_module(key, child)
        self.order = order

    def forward(self, x):
        for key in self.order:
            x = unwrap(getattr(self, key)(x))
        return x


def unwrap(value):
    value = value[0] if isinstance(value, tuple) else value
    return value["y"] if isinstance(value, dict) else value


leaf = st.one_of(
    st.builds(Scale, st.sampled_from(["none", "tuple", "dict"])),
    st.builds(Overwrite),
    st.builds(Break, st.integers(1, 4), st.sampled_from([Broke, KeyboardInterrupt])),
)


def block(children):
    # names such as "m" and "m_1" collide with the names of repeats
    keys = st.lists(st.sampled_from(["m", "m_1", "m_2", "act", "act_1"]), min_size=1, max_size=4, unique=True)
    return keys.flatmap(
        lambda some: st.builds(
            Block,
            st.fixed_dictionaries({key: children for key in some}),
            st.lists(st.sampled_from(some), max_size=6),
        )
    )


trees = block(st.recursive(leaf, block, max_leaves=6))


@dataclass
class Reference:
    """Runs a tree by hand, without hooks, and notes every call in the order in which calls end."""

    known: set
    calls: list = field(default_factory=list)
    count: Counter = field(default_factory=Counter)
    broken: Counter = field(default_factory=Counter)

    def run(self, module, name, x):
        if isinstance(module, Block):
            for key in module.order:
                x = unwrap(self.run(getattr(module, key), f"{name}.{key}" if name else key, x))
            value = x
        elif isinstance(module, Break):
            self.broken[name] += 1
            if self.broken[name] == module.at:
                raise module.error
            value = x.clone()
        elif isinstance(module, Overwrite):
            value = x.clamp(min=0)
        else:
            value = module(x)
        self.calls.append((self.label(name), value))
        return value

    def label(self, name):
        """The first call has the name; a later one the next number that no submodule has for its own."""
        this = f"{name}_{self.count[name]}" if self.count[name] else name
        self.count[name] += 1
        while f"{name}_{self.count[name]}" in self.known:
            self.count[name] += 1
        return this


def reference(model, x):
    twin = Reference({name for name, _ in model.named_modules()})
    try:
        twin.run(model, "", x.clone())
    except (Broke, KeyboardInterrupt) as error:
        return dict(twin.calls), type(error)
    return dict(twin.calls), None


def reset(model):
    for module in every(model):
        if isinstance(module, Break):
            module.calls = 0


def trace(model):
    """Everything a call of ours might leave behind."""
    found = []
    for module in every(model):
        found.append((id(module), module.training, sorted(module.__dict__), len(module._forward_hooks)))
        found.append((len(module._forward_pre_hooks), len(module._forward_hooks_with_kwargs)))
    return found, torch.get_rng_state().sum().item(), torch.is_grad_enabled()


quiet = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


def same(ours, expected):
    if isinstance(expected, torch.Tensor):
        return torch.equal(ours, expected)
    if isinstance(expected, tuple | list):
        return type(ours) is type(expected) and all(same(a, b) for a, b in zip(ours, expected, strict=True))
    if isinstance(expected, dict):
        return ours.keys() == expected.keys() and all(same(ours[key], expected[key]) for key in expected)
    return ours is expected


@quiet
@given(trees, st.booleans())
def test_capture_sees_what_a_plain_reference_sees_and_leaves_no_trace(model, with_inputs):
    x = torch.tensor([-2.0, -0.3, 0.1, 1.7])
    expected, error = reference(model, x)
    expected.pop("", None)
    reset(model)
    before = trace(model)
    raised = None
    with capture(model, "**", inputs=with_inputs) as seen:
        try:
            model(x.clone())
        except (Broke, KeyboardInterrupt) as problem:
            raised = type(problem)
    assert raised is error
    assert trace(model) == before
    assert list(seen) == list(expected)
    assert all(same(seen[name], value) for name, value in expected.items())
    assert not with_inputs or list(seen.inputs) == list(seen)


@quiet
@given(trees, st.data())
def test_features_gives_the_first_calls_or_says_that_they_never_ran(model, data):
    x = torch.tensor([-2.0, -0.3, 0.1, 1.7])
    expected, error = reference(model, x)
    asked = data.draw(st.lists(st.sampled_from(names(model)), min_size=1, max_size=3, unique=True))
    reset(model)
    before = trace(model)
    try:
        got = features(model, x.clone(), asked)
    except NeverRan:
        assert error is None
        assert any(name not in expected for name in asked)
    except (Broke, KeyboardInterrupt) as problem:
        assert type(problem) is error
        assert any(name not in expected for name in asked)
    else:
        assert set(got) == set(asked)
        assert all(same(got[name], expected[name]) for name in asked)
    assert trace(model) == before
