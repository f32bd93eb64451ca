import copy
import inspect
import io
import pickle

import pytest
import torch
from torch import nn

from featlab.switches import evaluating, freeze, is_frozen, modes, unfreeze


def mixed() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Sequential(nn.Dropout()))
    model[1].eval()
    return model


def test_modes_reads_each_submodule_s_own_flag():
    model = mixed()
    assert dict(modes(model)) == {n: "train" if m.training else "eval" for n, m in model.named_modules()}
    assert modes(model).summary == "mixed: 4 train, 1 eval"
    assert modes(model.eval()).summary == "all 5 eval"


def test_modes_is_a_snapshot():
    model = mixed()
    before = modes(model)
    model.eval()
    assert before["0"] == "train"


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_evaluating_puts_each_flag_back_whatever_ends_the_block(error):
    model = mixed()
    before = dict(modes(model))
    try:
        with evaluating(model):
            assert modes(model).summary == "all 5 eval"
            model[0].train()
            if error:
                raise error
    except (ValueError, KeyboardInterrupt):
        pass
    assert dict(modes(model)) == before


def test_what_is_frozen_inside_evaluating_stays_in_eval_and_unfreeze_gives_its_flag_back():
    model = mixed()
    before = dict(modes(model))
    with evaluating(model):
        freeze(model[2])
    assert dict(modes(model)) == before | {"2": "eval", "2.0": "eval"}
    unfreeze(model)
    assert dict(modes(model)) == before


def test_evaluating_calls_no_train_of_the_model_s_own():
    class Counts(nn.Linear):
        calls = 0

        def train(self, mode=True):
            Counts.calls += 1
            return super().train(mode)

    model = nn.Sequential(Counts(2, 2))
    Counts.calls = 0
    with evaluating(model):
        assert not model[0].training
    assert Counts.calls == 0


def test_evaluating_moves_no_statistics():
    model = mixed().train()
    before = model[1].running_mean.clone()
    with evaluating(model):
        model(torch.randn(4, 2))
    assert torch.equal(model[1].running_mean, before)


# every class of torch whose behaviour hangs on the mode
CHANNELS = {nn.BatchNorm1d: 1, nn.BatchNorm2d: 2, nn.BatchNorm3d: 3}
CHANNELS |= {nn.InstanceNorm1d: 1, nn.InstanceNorm2d: 2, nn.InstanceNorm3d: 3}
LAZY = {getattr(nn, f"Lazy{kind.__name__}"): axes for kind, axes in CHANNELS.items()}
DROPOUTS = {nn.Dropout: 1, nn.Dropout1d: 1, nn.Dropout2d: 2, nn.Dropout3d: 3}
DROPOUTS |= {nn.AlphaDropout: 1, nn.FeatureAlphaDropout: 3}


def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Sequential(nn.Dropout(), nn.Conv2d(2, 2, 1)))


def flags(module: nn.Module) -> list[bool]:
    return [submodule.training for submodule in module.modules()]


def values(module: nn.Module) -> dict:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(before: dict, after: dict) -> bool:
    return before.keys() == after.keys() and all(torch.equal(value, after[name]) for name, value in before.items())


def saved(module: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = {"itself": lambda m: m, "deepcopy": copy.deepcopy, "pickle": lambda m: pickle.loads(pickle.dumps(m))}
COPIES["torch.save"] = saved


@pytest.mark.parametrize("way", COPIES)
def test_freeze_holds_parameters_statistics_and_modes_through_an_epoch(way):
    model = COPIES[way](nn.Sequential(freeze(net()), nn.Flatten(), nn.Linear(8, 1)))
    before = values(model[0])
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(3):
        model.train()
        optimizer.zero_grad()
        model(torch.randn(4, 1, 2, 2)).sum().backward()
        optimizer.step()
    assert same(before, values(model[0]))
    assert not any(flags(model[0]))
    assert model.training and model[2].training


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_is_frozen_by_its_own_marks_and_thaws_alone(way):
    model = freeze(net())
    twin = COPIES[way](model)
    assert all(submodule.train is not other.train for submodule, other in zip(model[2], net()[2], strict=True))
    assert twin.train() is twin and twin.eval() is twin
    unfreeze(twin).train()
    assert all(flags(twin)) and all(parameter.requires_grad for parameter in twin.parameters())
    if twin is not model:
        model.train()
        assert not any(flags(model)) and not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("kind", [*CHANNELS, *LAZY], ids=lambda kind: kind.__name__)
def test_every_norm_keeps_its_statistics_lazy_ones_too(kind):
    lazy = kind in LAZY
    norm = kind(track_running_stats=True) if lazy else kind(3, affine=True, track_running_stats=True)
    freeze(norm)
    parent = nn.Sequential(norm).train()
    x = torch.randn(4, 3, *[2] * (LAZY | CHANNELS)[kind])
    out = parent(x)  # a lazy one is built here
    before = values(norm)
    parent.train()
    assert torch.equal(parent(x), out) and same(before, values(norm))
    assert not any(parameter.requires_grad for parameter in norm.parameters())
    unfreeze(norm)
    parent(x)
    assert not same(before, values(norm))
    assert all(parameter.requires_grad for parameter in norm.parameters())


@pytest.mark.parametrize("kind", DROPOUTS, ids=lambda kind: kind.__name__)
def test_every_dropout_stays_off(kind):
    model = nn.Sequential(freeze(kind(0.5))).train()
    x = torch.randn(2, 3, *[4] * DROPOUTS[kind])
    assert torch.equal(model(x), x)


def test_dropout_inside_attention_and_rnn_stays_off_and_spectral_norm_stays_put():
    attention = freeze(nn.TransformerEncoderLayer(4, 2, 8, dropout=0.5, batch_first=True))
    rnn = freeze(nn.GRU(4, 4, num_layers=2, dropout=0.5, batch_first=True))
    normed = freeze(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)))
    nn.ModuleList([attention, rnn, normed]).train()
    x, before = torch.randn(2, 3, 4), values(normed)
    assert torch.equal(attention(x), attention(x))
    assert torch.equal(rnn(x)[0], rnn(x)[0])
    assert torch.equal(normed(x), normed(x)) and same(before, values(normed))


def test_unfreeze_gives_back_exactly_what_freeze_took():
    model = net()
    model[1].eval()
    model[0].bias.requires_grad_(False)
    model[2][1].weight.requires_grad_(False)
    modes_before = dict(modes(model))
    learnable = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    keys = [set(vars(module)) for module in model.modules()]
    freeze(freeze(model))  # twice, as a cell that is run again
    unfreeze(model)
    assert dict(modes(model)) == modes_before
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == learnable
    assert [set(vars(module)) for module in model.modules()] == keys
    unfreeze(model)
    assert dict(modes(model)) == modes_before


def test_the_class_and_the_keys_of_the_state_dict_stay():
    model, plain = freeze(net()), net()
    assert [type(module) for module in model.modules()] == [type(module) for module in plain.modules()]
    assert list(model.state_dict()) == list(plain.state_dict())
    assert inspect.signature(model.train).parameters == inspect.signature(plain.train).parameters
    assert repr(model) == repr(plain)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("assign", [False, True])
def test_loading_into_a_frozen_module_leaves_it_frozen(assign):
    model, other = freeze(net()), net()
    model.load_state_dict(values(other), assign=assign)
    assert same(values(model), values(other))
    model.train()
    assert not any(flags(model)) and not any(parameter.requires_grad for parameter in model.parameters())
    assert all(parameter.requires_grad for parameter in unfreeze(model).parameters())


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, lr=0.1, amsgrad=True),
        lambda p: torch.optim.Adam(p, lr=0.1, fused=True),
        lambda p: torch.optim.RMSprop(p, lr=0.1, momentum=0.9),
    ],
    ids=["SGD", "AdamW", "fused Adam", "RMSprop"],
)
@pytest.mark.parametrize("set_to_none", [True, False])
def test_neither_a_stale_gradient_nor_momentum_nor_decay_moves_what_is_frozen_after_a_step(make, set_to_none):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = make(model.parameters())
    model(torch.randn(3, 2)).sum().backward()
    optimizer.step()
    freeze(model[0])
    before = values(model[0])
    for _ in range(2):
        optimizer.step()
        optimizer.zero_grad(set_to_none=set_to_none)
        model(torch.randn(3, 2)).sum().backward()
    assert same(before, values(model[0]))


def test_a_graph_recorded_before_the_freeze_leaves_no_gradient():
    layer = nn.Linear(2, 2)
    loss = layer(torch.randn(3, 2)).sum()
    freeze(layer)
    loss.backward()
    assert layer.weight.grad is None


def test_a_new_head_on_a_frozen_model_learns_and_follows_train():
    model = freeze(net())
    model[2][1] = nn.Sequential(nn.Conv2d(2, 2, 1), nn.Dropout())
    model.eval()
    assert not any(flags(model[2][1]))
    model.train()
    assert all(flags(model[2][1])) and model[2][1][0].weight.requires_grad
    assert not model.training and not model[1].training


def test_unfreezing_a_child_thaws_it_alone_and_its_mode_is_free_again():
    model = freeze(net())
    unfreeze(model[2])
    assert dict(modes(model)) == {"": "eval", "0": "eval", "1": "eval", "2": "train", "2.0": "train", "2.1": "train"}
    model.eval()
    assert not any(flags(model))
    model.train()
    assert flags(model) == [False, False, False, True, True, True]


def test_freezing_the_parent_of_a_frozen_child_and_unfreezing_it_gives_everything_back():
    model = net()
    freeze(model[1])
    model.train()
    freeze(model)
    assert all(is_frozen(module) for module in model.modules())
    unfreeze(model)
    assert all(flags(model)) and all(parameter.requires_grad for parameter in model.parameters())


def test_a_shared_submodule_and_a_shared_parameter_are_frozen_once_and_thawed():
    layer = nn.Linear(2, 2)
    tied = nn.Linear(2, 2)
    tied.weight = layer.weight
    model = nn.ModuleDict({"a": layer, "b": nn.Sequential(layer), "c": tied})
    freeze(model)
    assert not layer.weight.requires_grad
    unfreeze(model["c"])
    assert tied.weight.requires_grad and not layer.bias.requires_grad
    unfreeze(model)
    assert layer.bias.requires_grad and all(flags(model))


def test_a_mode_set_by_hand_falls_back_at_the_next_train_and_learning_again_is_allowed():
    model = freeze(net())
    model[1].training = True
    model.train()
    assert not model[1].training
    model.requires_grad_(True)
    assert all(parameter.requires_grad for parameter in model.parameters())
    freeze(model)
    assert not any(parameter.requires_grad for parameter in model.parameters())


class Merges(nn.Linear):
    """A layer whose own `train` does more than set a flag."""

    merged = False

    def train(self, mode=True):
        self.merged = not mode
        return super().train(mode)


def test_a_train_of_the_class_s_own_is_asked_for_eval_and_for_the_mode_given_back():
    model = nn.Sequential(Merges(2, 2))
    freeze(model)
    assert model[0].merged
    model.train()
    assert model[0].merged and not model[0].training
    unfreeze(model)
    assert not model[0].merged and model[0].training


def test_a_train_set_on_the_instance_comes_back():
    layer = nn.BatchNorm1d(2)
    layer.train = own = lambda mode=True: layer
    freeze(nn.Sequential(layer))
    assert not layer.training
    unfreeze(layer)
    assert layer.train is own and layer.training


def test_when_a_train_of_the_user_s_raises_nothing_is_marked():
    class Refuses(nn.Module):
        def train(self, mode=True):
            raise RuntimeError("not me")

    model = nn.Sequential(nn.Linear(1, 1), Refuses())
    with pytest.raises(RuntimeError, match="not me"):
        freeze(model)
    assert not any(is_frozen(module) for module in model.modules()) and model[0].weight.requires_grad


def test_evaluating_works_on_a_model_with_a_frozen_part():
    model = nn.Sequential(freeze(net()), nn.Dropout())
    with evaluating(model):
        assert not any(flags(model))
    assert modes(model).summary == "mixed: 2 train, 6 eval"


def test_a_torchscript_module_is_refused_before_anything_is_touched():
    model = nn.Sequential(nn.Linear(1, 1), torch.jit.trace(nn.Linear(1, 1), torch.ones(1, 1)))
    with pytest.raises(TypeError, match="1 is a TorchScript module.*Freeze the model before"):
        freeze(model)
    assert model[0].weight.requires_grad and all(flags(model))
    with pytest.raises(TypeError, match="this is the class Linear"):
        freeze(nn.Linear)


def test_what_torch_makes_of_a_frozen_model_runs():
    model, x = freeze(net()), torch.randn(2, 1, 2, 2)
    expected = model(x)
    for other in (torch.jit.trace(model, x), torch.fx.symbolic_trace(model), torch.export.export(model, (x,)).module()):
        torch.testing.assert_close(other(x), expected)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager")
    compiled.train()
    torch.testing.assert_close(compiled(x), expected)
    assert not any(flags(compiled))


def test_a_frozen_extractor_of_torchvision_keeps_its_eval_graph():
    extraction = pytest.importorskip("torchvision.models.feature_extraction")
    extractor = extraction.create_feature_extractor(net(), ["2.0"])  # ends in a Dropout
    freeze(extractor).train()
    x = torch.randn(2, 1, 2, 2)
    assert torch.equal(extractor(x)["2.0"], extractor(x)["2.0"])
    unfreeze(extractor)
    assert not torch.equal(extractor(x)["2.0"], extractor(x)["2.0"])
