"""Looking with one input: right values, few forwards, nothing left behind."""

import copy
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from featlab import onlookers
from featlab.absences import NeverRan
from featlab.activations import features
from featlab.onlookers import Onlooker, explain
from featlab.selectors import UnknownName, every


class Net(nn.Module):
    """Dropout, BatchNorm, an in-place ReLU used twice, a layer that never runs, and a forward that spoils its input."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout()
        self.last = nn.Linear(4, 2)
        self.never = nn.Linear(1, 1)
        self.forwards = 0

    def forward(self, x):
        self.forwards += 1
        x = self.relu(self.norm(self.first(x.mul_(2))))
        return self.last(self.drop(self.relu(x - 0.1)))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Net()


@pytest.fixture
def x():
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(1))


def traces(model: nn.Module) -> list:
    """Everything that a look must leave alone."""
    state = {key: value.clone() for key, value in model.state_dict().items()}
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in every(model)]
    return [state, hooks, [m.training for m in every(model)], torch.get_rng_state(), torch.is_grad_enabled()]


def same(before: list, after: list) -> bool:
    state = all(torch.equal(value, after[0][key]) for key, value in before[0].items())
    return state and before[1:3] == after[1:3] and torch.equal(before[3], after[3]) and before[4] == after[4]


@pytest.mark.parametrize("mode", [True, False])
def test_looking_moves_nothing(model, x, mode):
    model.train(mode)
    model.norm.train(not mode)
    before, given = traces(model), x.clone()
    onlooker = Onlooker(model, x)
    onlooker.features(["norm", "drop"])
    with pytest.raises(NeverRan):
        onlooker.features(["never"])
    assert same(before, traces(model))
    assert torch.equal(x, given)


def test_looking_moves_nothing_when_the_forward_is_interrupted(model, x):
    before = traces(model)

    def interrupt(*_):
        raise KeyboardInterrupt

    handle = model.drop.register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        Onlooker(model, x)
    handle.remove()
    onlooker = Onlooker(model, x)
    handle = model.norm.register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        onlooker.features(["relu"])
    handle.remove()
    assert same(before, traces(model))
    assert onlooker.features(["relu"])["relu"].shape == (6, 4)


def test_values_are_what_the_layers_returned(model, x):
    model.eval()
    onlooker = Onlooker(model, x)
    expected = F.linear(2 * x, model.first.weight, model.first.bias)
    assert torch.equal(onlooker.features(["first"])["first"], expected)
    alone = features(model, x.clone(), "relu_1")["relu_1"]
    assert torch.equal(onlooker.features(["relu_1"])["relu_1"], alone)
    assert not onlooker.features(["first"])["first"].requires_grad


def test_a_feature_seen_again_costs_no_forward(model, x):
    onlooker = Onlooker(model, x)
    assert model.forwards == 1
    onlooker.features(["first", "relu"])
    onlooker.features(["relu"])
    onlooker.features(["first", "relu", "last"])
    assert model.forwards == 3
    with pytest.raises(NeverRan, match="'never' .Linear. never ran"):
        onlooker.features(["never"])
    assert model.forwards == 3


def test_random_layers_draw_the_same_in_each_look(model, x):
    onlooker = Onlooker(model, x)
    dropped = onlooker.features(["drop"])["drop"]
    torch.rand(1)
    last = onlooker.features(["last"])["last"]
    assert torch.equal(last, model.last(dropped))


def test_a_changed_model_is_looked_at_anew(model, x):
    onlooker = Onlooker(model, x)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for change in (
        lambda: (model(x.clone()).sum().backward(), optimizer.step()),
        lambda: model.eval(),
        lambda: model.load_state_dict(copy.deepcopy(model.state_dict())),
        lambda: setattr(model, "first", nn.Linear(4, 4)),
    ):
        looks = onlooker.looks
        onlooker.features(["first"])
        assert onlooker.looks == looks
        change()
        after = onlooker.features(["first"])["first"]
        assert onlooker.looks == looks + 1
        assert torch.equal(after, F.linear(2 * x, model.first.weight, model.first.bias))


def test_what_is_kept_is_bounded_and_the_oldest_goes_first(model, x, monkeypatch):
    monkeypatch.setattr(onlookers, "_KEPT", 2 * 6 * 4 * 4)  # two features of (6, 4) float32
    onlooker = Onlooker(model, x)
    for name in ("first", "norm", "first", "relu"):
        onlooker.features([name])
    assert list(onlooker._kept) == ["first", "relu"]
    assert set(onlooker.features(["first", "norm", "relu", "drop"])) == {"first", "norm", "relu", "drop"}
    monkeypatch.setattr(onlookers, "_KEPT", 0)
    assert onlooker.features(["last"])["last"].shape == (6, 2)


def test_what_several_keep_together_is_bounded_and_the_latest_stays(model, x, monkeypatch):
    monkeypatch.setattr(onlookers, "_KEPT", 2 * 6 * 4 * 4)
    earlier, latest = Onlooker(model, x), Onlooker(model, x)
    earlier.features(["first", "norm"])
    latest.features(["first"])
    assert list(earlier._kept) == [] and list(latest._kept) == ["first"]
    assert torch.equal(earlier.features(["first"])["first"], latest.features(["first"])["first"])


def test_the_tree_says_what_each_returned(model, x):
    onlooker = Onlooker(model, x)
    said = {name: onlooker.output(row) for row, name in enumerate(onlooker.outline.names)}
    assert said == dict.fromkeys(["first", "norm", "relu", "drop"], "(6, 4)") | {"last": "(6, 2)", "never": "never ran"}
    assert onlooker.labels(onlooker.row("relu")) == ["relu", "relu_1"]
    assert onlooker.row("relu_1") == onlooker.row("relu")
    assert onlooker.batch == ("sample", 6)
    assert onlooker.given == "(6, 4) float32"


@pytest.mark.parametrize("name", ["frist", "relu_2", "*", ""])
def test_an_unknown_name_is_an_error(model, x, name):
    with pytest.raises(UnknownName):
        Onlooker(model, x).row(name)


def test_an_error_of_the_model_is_told_with_its_place_and_the_tree_remains(model, x):
    onlooker = Onlooker(model, x[:, :3])
    assert onlooker.error.startswith("The model raised on this input. RuntimeError in first (Linear): ")
    model.last = nn.Linear(5, 2)
    onlooker = Onlooker(model, x)
    said = {name: onlooker.output(row) for row, name in enumerate(onlooker.outline.names)}
    assert (said["drop"], said["last"], said["never"]) == ("(6, 4)", "not reached", "not reached")
    # what runs before the error can still be seen
    assert onlooker.features(["drop"])["drop"].shape == (6, 4)
    with pytest.raises(RuntimeError):
        onlooker.features(["last"])


def test_an_error_in_the_model_s_own_forward_has_no_place():
    class Raises(nn.Module):
        def forward(self, x):
            return {}["missing"]

    assert Onlooker(Raises(), torch.zeros(1)).error == "The model raised on this input. KeyError: 'missing'"
    assert explain(ValueError("too large"), nn.ReLU()) == "ValueError: too large"


@pytest.mark.parametrize("x", [(torch.zeros(2, 3, 8, 8),), {"input": torch.zeros(2, 3, 8, 8)}])
def test_inputs_are_tensors_tuples_or_dicts(x):
    onlooker = Onlooker(nn.Sequential(nn.Conv2d(3, 4, 1)), x)
    assert not onlooker.error
    assert onlooker.batch == ("image", 2)
    assert onlooker.features(["0"])["0"].shape == (2, 4, 8, 8)


def test_without_an_input_nothing_runs(model):
    onlooker = Onlooker(model)
    assert model.forwards == 0
    assert onlooker.output(0) == ""
    with pytest.raises(LookupError, match="no input"):
        onlooker.features(["first"])


def test_a_model_that_raises_in_train_mode_is_looked_at_once(model, x):
    model.last = nn.Linear(5, 2)
    onlooker = Onlooker(model, x)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            onlooker.features(["last"])
    assert onlooker.looks == 1


def test_lazy_modules_are_not_set_by_a_look(x):
    model = nn.Sequential(nn.LazyLinear(3))
    onlooker = Onlooker(model, x)
    assert "Call the model once" in onlooker.error
    assert type(model[0]) is nn.LazyLinear
    with pytest.raises(ValueError, match="lazy"):
        onlooker.features(["0"])
    model(x)
    assert onlooker.features(["0"])["0"].shape == (6, 3)
    assert not onlooker.error


@pytest.mark.parametrize("lazy", [nn.LazyBatchNorm1d(), nn.LazyBatchNorm1d(affine=False)])
def test_lazy_buffers_are_not_set_by_a_look_either(x, lazy):
    model = nn.Sequential(lazy)
    assert "Call the model once" in Onlooker(model, x).error
    assert model[0] is lazy
    assert type(lazy) is nn.LazyBatchNorm1d


@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.parametrize("make", [torch.Tensor.to_sparse, torch.Tensor.to_sparse_csr])
def test_a_sparse_feature_is_kept_like_any_other(x, make):
    class Sparse(nn.Module):
        def forward(self, x):
            return make(x)

    onlooker = Onlooker(nn.Sequential(nn.ReLU(), Sparse()), x)
    assert torch.equal(onlooker.features(["1"])["1"].to_dense(), x.relu())
    assert torch.equal(onlooker.features(["0"])["0"], x.relu())


def test_layers_that_draw_from_python_or_numpy_draw_the_same_in_each_look(x):
    class Shift(nn.Module):
        def forward(self, x):
            return x + random.random() + np.random.rand()  # noqa: NPY002

    onlooker = Onlooker(nn.Sequential(Shift(), nn.Identity()), x)
    first = onlooker.features(["0"])["0"]
    random.random()
    np.random.rand()  # noqa: NPY002
    assert torch.equal(onlooker.features(["1"])["1"], first)


def test_a_nested_tensor_between_layers_is_described_too():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2).eval()
    mask = torch.tensor([[False, False, True], [False, False, False]])
    onlooker = Onlooker(encoder, {"src": torch.randn(2, 3, 8), "src_key_padding_mask": mask})
    assert onlooker.error == ""


def test_a_hook_that_changes_the_output_is_noticed():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    onlooker = Onlooker(model, torch.ones(2, 4))
    before = onlooker.features(["0"])["0"]
    handle = model[0].register_forward_hook(lambda module, args, output: output + 1)
    assert torch.equal(onlooker.features(["0"])["0"], before + 1)
    handle.remove()
    assert torch.equal(onlooker.features(["0"])["0"], before)
