"""Each way against the model's own numbers, and the model as it was."""

import copy
import io
import pickle

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from featlab.activations import features
from featlab.extractors import WAYS, compare_ways, extractor
from featlab.selectors import every


def snapshot(model):
    """Everything of the model that a call of ours must leave alone."""
    state = {key: value.clone() for key, value in model.state_dict().items()}
    flags = [module.training for module in model.modules()]
    ids = [(name, id(module), len(module._forward_hooks)) for name, module in model.named_modules()]
    return state, flags, ids, torch.get_rng_state()


def same(before, after):
    states_equal = all(torch.equal(before[0][key], after[0][key]) for key in before[0])
    return states_equal and before[1:3] == after[1:3] and torch.equal(before[3], after[3])


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    model = torchvision.models.resnet18()
    model.layer1[0].bn1.eval()  # one BatchNorm frozen by hand
    return model


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["layer2", "avgpool"])
def test_each_way_gives_the_model_s_numbers_and_rewires_nothing(resnet, images, way, name):
    before = snapshot(resnet)
    got = extractor(resnet, name, way=way, mode="eval")(images)
    assert same(before, snapshot(resnet))
    # by hand, as resnet's forward has it, on a copy
    net = copy.deepcopy(resnet).eval()
    steps = [net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2]
    steps += [net.layer3, net.layer4, net.avgpool] if name == "avgpool" else []
    expected = nn.Sequential(*steps)(images)
    assert list(got) == [name]
    # what comes after the layers, a flatten, still runs behind an Identity
    assert torch.equal(got[name], expected.flatten(1) if way == "identity" else expected)


@pytest.mark.parametrize("way", WAYS)
def test_parameters_are_shared_and_training_reaches_the_model(images, way):
    model = torchvision.models.resnet18()
    made = extractor(model, "layer1", way=way)
    mine = {id(parameter) for parameter in model.parameters()}
    assert {id(parameter) for parameter in made.parameters()} <= mine
    made(images)["layer1"].sum().backward()
    assert model.conv1.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("again", [copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
def test_a_copy_gives_the_same_numbers_and_shares_nothing(resnet, images, way, again):
    made = extractor(resnet, "layer1", way=way, mode="eval")
    twin = again(made)
    assert torch.equal(twin(images)["layer1"], made(images)["layer1"])
    assert not {id(p) for p in twin.parameters()} & {id(p) for p in resnet.parameters()}
    assert [m.training for m in twin.modules()] == [m.training for m in made.modules()]


@pytest.mark.parametrize("way", WAYS)
def test_an_extractor_can_be_saved_whole_or_by_its_state(images, way):
    made = extractor(torchvision.models.resnet18(), "layer1", way=way, mode="eval")
    other = extractor(torchvision.models.resnet18(), "layer1", way=way, mode="eval")
    other.load_state_dict(made.state_dict())
    file = io.BytesIO()
    torch.save(made, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    expected = made(images)["layer1"]
    assert torch.equal(other(images)["layer1"], expected)
    assert torch.equal(loaded(images)["layer1"], expected)


class Functional(nn.Module):
    """Its dropout is a function, which fx writes into a graph for each mode."""

    def __init__(self):
        super().__init__()
        self.linear, self.mark, self.last = nn.Linear(4, 4), nn.Identity(), nn.Tanh()

    def forward(self, x):
        return self.last(self.mark(F.dropout(self.linear(x), 0.5, self.training)))


@pytest.mark.parametrize("way", ["hook", "fx"])
def test_mode_eval_stays_eval_after_train(way):
    model, x = Functional(), torch.randn(8, 4)
    made = extractor(model, "mark", way=way, mode="eval")
    nn.Sequential(made).train()
    assert torch.equal(made(x)["mark"], model.linear(x))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("again", [copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
def test_a_copy_goes_on_in_the_mode_that_the_extractor_was_switched_to(training, again):
    made, x = extractor(Functional().train(not training), "mark", way="fx").train(training), torch.ones(8, 4)
    twin = again(made)
    assert bool((twin(x)["mark"] == 0).any()) is training
    assert [module.training for module in twin.modules()] == [module.training for module in made.modules()]


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_takes_along_what_was_put_into_the_extractor(images, way):
    made = extractor(torchvision.models.resnet18(), "layer1", way=way, mode="eval")
    made.head, made.note = nn.Linear(4, 2).eval(), "mine"
    twin = copy.deepcopy(made)
    assert torch.equal(twin.head.weight, made.head.weight)
    assert twin.head is not made.head
    assert (twin.note, twin.head.training) == ("mine", False)
    assert torch.equal(twin(images)["layer1"], made(images)["layer1"])


def test_an_extractor_moves_with_its_model(images):
    made = extractor(torchvision.models.resnet18(), "layer1", way="sequential", mode="eval").double()
    assert made(images.double())["layer1"].dtype == torch.float64


@pytest.mark.parametrize("way", ["hook", "fx"])
def test_several_layers_come_out_of_one_call(resnet, images, way):
    got = extractor(resnet, ["layer2", "layer1"], way=way, mode="eval")(images)
    assert {name: tuple(value.shape) for name, value in got.items()} == {
        "layer1": (2, 64, 16, 16),
        "layer2": (2, 128, 8, 8),
    }


@pytest.mark.parametrize("way", ["sequential", "identity"])
def test_one_feature_ways_refuse_several(resnet, way):
    with pytest.raises(ValueError, match=f"way='{way}' gives one feature; 2 were asked: layer1, layer2"):
        extractor(resnet, ["layer1", "layer2"], way=way)


def test_unknown_ways_modes_and_names_are_refused(resnet):
    with pytest.raises(ValueError, match="way is one of hook, fx, sequential, identity; this is 'hooks'"):
        extractor(resnet, "layer1", way="hooks")
    with pytest.raises(ValueError, match="mode is None"):
        extractor(resnet, "layer1", mode="train")
    with pytest.raises(LookupError, match="Near: layer1"):
        extractor(resnet, "layr1")


class Branches(nn.Module):
    """Cannot be traced: the way through depends on the data."""

    def __init__(self):
        super().__init__()
        self.a, self.bn, self.b = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4)

    def forward(self, x):
        return self.b(self.bn(self.a(x))) if x.sum() > 0 else self.a(x)


def test_when_tracing_fails_every_flag_is_as_it_was():
    model = Branches().eval()
    model.bn.train()
    before = snapshot(model)
    with pytest.raises(torch.fx.proxy.TraceError):
        extractor(model, "a", way="fx")
    assert same(before, snapshot(model))


@pytest.mark.parametrize("kind", ["register_forward_hook", "register_forward_pre_hook"])
def test_fx_is_refused_where_it_would_call_a_user_s_hook_with_stand_ins(resnet, kind):
    called = []
    handle = getattr(resnet.layer1, kind)(lambda *_: called.append(1))
    with pytest.raises(ValueError, match="hooks on 'layer1' once, while it builds"):
        extractor(resnet, "layer2", way="fx")
    handle.remove()
    assert not called


def test_positional_and_keyword_arguments_reach_the_model():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Identity()

        def forward(self, a, *, b):
            return self.out(a + b)

    made = extractor(Two(), "out")
    assert made(torch.ones(1), b=torch.ones(1))["out"] == 2


def test_compare_ways_says_who_is_right_and_leaves_the_model_as_it_was(resnet, images):
    before = snapshot(resnet)
    table = compare_ways(resnet, images, "avgpool", rounds=1)
    assert same(before, snapshot(resnet))
    rows = {row["way"]: row for row in table}
    assert [rows[way]["worked"] for way in WAYS] == ["yes"] * 4
    assert rows["hook"]["values"] == rows["fx"]["values"] == rows["sequential"]["values"] == "same"
    assert rows["identity"]["values"] == "same numbers, shape (2, 512) not (2, 512, 1, 1)"
    # 51 of 68, one of which is in eval already
    assert (rows["fx"]["shared"], rows["fx"]["flips"]) == (51, 50)
    shared = {id(m) for m in extractor(resnet, "avgpool", way="fx").modules()} & {id(m) for m in every(resnet)}
    assert rows["fx"]["shared"] == len(shared)


def test_compare_ways_shows_a_wrong_value_and_a_failure_as_such(resnet, images):
    rows = {row["way"]: row for row in compare_ways(resnet, images, ["bn1", "layer1"], rounds=1)}
    assert rows["fx"]["values"].startswith("no: max |Δ|")  # an in-place ReLU overwrote bn1
    assert rows["hook"]["values"] == "same"
    assert rows["identity"]["worked"] == "no"

    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.second, self.first = nn.Tanh(), nn.Linear(4, 4)

        def forward(self, x):
            return self.second(self.first(x))

    rows = {row["way"]: row for row in compare_ways(Backwards(), torch.randn(2, 4), "first", rounds=1)}
    assert rows["sequential"]["values"].startswith("no")  # registration order is not call order
    failed = {row["way"]: row for row in compare_ways(Branches(), torch.ones(2, 4), "a", rounds=1)}["fx"]
    assert failed["worked"] == "no"
    assert "TraceError" in failed["values"]


def test_in_train_mode_dropout_is_compared_with_the_same_random_numbers():
    model = nn.Sequential(nn.Dropout(), nn.Linear(4, 4), nn.Tanh())
    rows = compare_ways(model, torch.randn(8, 4), "1", rounds=1)
    assert [row["values"] for row in rows] == ["same"] * 4


def test_an_input_that_the_model_overwrites_is_not_the_caller_s():
    model, x = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 4)), torch.full((1, 4), -1.0)
    compare_ways(model, x, "1", rounds=1)
    assert torch.equal(x, torch.full((1, 4), -1.0))


def test_features_and_the_hook_way_agree(resnet, images):
    ours = features(resnet, images, "layer3", mode="eval")["layer3"]
    assert torch.equal(extractor(resnet, "layer3", mode="eval")(images)["layer3"], ours)


def test_compare_ways_sets_no_lazy_module():
    model = nn.Sequential(nn.LazyLinear(3), nn.Tanh())
    with pytest.raises(ValueError, match="lazy submodules, whose shapes the first call sets. Call the model once"):
        compare_ways(model, torch.zeros(1, 4), "0")
    assert type(model[0]) is nn.LazyLinear


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x: x > 0, "no: (2, 4) float32 not (2, 4) bool"),
        (lambda x: x.relu().to_sparse(), "no: max |Δ|"),
        (lambda x: (x * 99).byte(), "no: (2, 4) float32 not (2, 4) uint8"),
    ],
)
def test_compare_ways_compares_values_of_every_type(change, says):
    class Typed(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.mark, self.last = nn.Linear(4, 4), nn.Identity(), nn.Identity()

        def forward(self, x):
            return self.last(self.mark(change(self.linear(x))))

    rows = {row["way"]: row for row in compare_ways(Typed(), torch.randn(2, 4), "mark", rounds=1)}
    assert [rows[way]["values"] for way in ("hook", "fx", "identity")] == ["same"] * 3
    assert rows["sequential"]["worked"] == "yes"
    assert rows["sequential"]["values"].startswith(says)
