import math
from html.parser import HTMLParser

import pytest
import torch
from torch import nn

from featlab.changes import KINDS, Change, watch
from featlab.states import model_state, same
from featlab.switches import evaluating, freeze


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Sequential(nn.Dropout(), nn.Linear(2, 1)))


def only(did, *kinds) -> bool:
    """Say whether these kinds of change were told, and no other."""
    return {kind for kind in KINDS if getattr(did, kind)} == set(kinds)


@pytest.mark.parametrize("exact", [True, False])
def test_nothing_is_told_of_a_block_that_changes_nothing(exact):
    model = net().eval()
    model.register_buffer("nan", torch.tensor([math.nan, math.inf]))
    optimizer = torch.optim.Adam(model.parameters())
    with watch(model, optimizer=optimizer, exact=exact) as did:
        model(torch.randn(4, 2)).sum().backward()  # gradients are not watched
        with evaluating(model):
            model.load_state_dict(model.state_dict())
    assert not did
    assert repr(did) == "Nothing changed." and did._repr_html_() == "<p>Nothing changed.</p>"


def test_modes_and_requires_grad_are_told_by_name():
    model = net()
    with watch(model) as did:
        model[2].eval()
        model[0].bias.requires_grad_(False)
    assert only(did, "modes", "requires_grad")
    assert did.modes == {name: ("train", "eval") for name in ("2", "2.0", "2.1")}
    assert did.requires_grad == {"0.bias": Change(before=True, after=False)}


def test_a_train_mode_forward_moves_the_statistics_by_what_the_formula_says():
    model, x = net(), torch.randn(8, 2)
    hidden = model[0](x).detach()
    with watch(model) as did:
        model(x)
    assert only(did, "buffers")
    expected = {
        "1.running_mean": (0.1 * hidden.mean(0)).abs().max().item(),
        "1.running_var": (0.1 * (hidden.var(0) - 1)).abs().max().item(),
        "1.num_batches_tracked": 1,
    }
    assert did.buffers == pytest.approx(expected, rel=1e-5)
    assert isinstance(did.buffers["1.num_batches_tracked"], int)


EDITS = {
    "in place": lambda p: p.add_(0.5),
    ".data in place": lambda p: p.data.add_(0.5),
    ".data replaced": lambda p: setattr(p, "data", p.data + 0.5),
    "numpy": lambda p: p.detach().numpy().__iadd__(0.5),
}


@pytest.mark.parametrize("edit", EDITS)
def test_edits_that_the_version_counter_may_miss_are_told(edit):
    model = net()
    nn.init.zeros_(model[0].weight)
    with watch(model) as did, torch.no_grad():
        EDITS[edit](model[0].weight)
    assert only(did, "parameters") and did.parameters == {"0.weight": 0.5}


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("fused", [True, False])
def test_an_optimizer_step_is_told_with_its_state(fused, exact):
    torch.manual_seed(0)
    model = net().eval()  # in train mode BatchNorm leaves the bias before it no gradient but rounding
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9, fused=fused)
    model(torch.randn(4, 2)).sum().backward()
    gradients = {name: p.grad.abs().max().item() for name, p in model.named_parameters()}
    with watch(model, optimizer=optimizer, exact=exact) as did:
        optimizer.step()
    assert only(did, "parameters", "optimizer")
    assert did.parameters.keys() == gradients.keys()
    if exact:
        assert did.parameters == pytest.approx({name: 0.5 * g for name, g in gradients.items()}, rel=1e-4)
    else:
        assert set(did.parameters.values()) == {None}
    assert did.optimizer["0.weight: momentum_buffer"] == (None, "tensor (2, 2)")
    with watch(model, optimizer=optimizer, exact=exact) as did:
        optimizer.step()
    by = did.optimizer["2.1.bias: momentum_buffer"]
    assert by == (pytest.approx(0.9 * gradients["2.1.bias"]) if exact else None)


def test_the_optimizer_s_options_groups_and_members_are_told_by_name():
    model = net()
    optimizer = torch.optim.Adam(
        [{"params": model[0].parameters()}, {"params": [model[1].weight]}], lr=torch.tensor(0.1)
    )
    with watch(model, optimizer=optimizer) as did:
        optimizer.param_groups[0]["lr"].fill_(0.01)
        optimizer.param_groups[1]["betas"] = (0.5, 0.9)
        optimizer.param_groups[0]["params"].append(optimizer.param_groups[1]["params"].pop())
        optimizer.add_param_group({"params": [model[1].bias], "lr": 0.3})
    assert only(did, "optimizer")
    # one tensor is the lr of both groups
    assert did.optimizer["group 0: lr"] == did.optimizer["group 1: lr"] == pytest.approx((0.1, 0.01))
    assert did.optimizer["group 1: betas"] == ((0.9, 0.999), (0.5, 0.9))
    assert did.optimizer["1.weight"] == ("group 1", "group 0")
    assert did.optimizer["1.bias"] == (None, "group 2")
    assert did.optimizer["group 2"].before is None and did.optimizer["group 2"].after["lr"] == 0.3
    assert len(did.optimizer) == 6


def test_a_new_head_is_told_once_and_the_optimizer_s_stranger_with_it():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=1)
    with watch(model, optimizer=optimizer) as did:
        model[2][1] = nn.Linear(2, 3)
        model.append(nn.Sequential(nn.ReLU()))
    assert did.modules == {"2.1": ("Linear", "another Linear"), "3": (None, "Sequential")}
    assert only(did, "modules", "optimizer")
    assert did.optimizer["2.1.weight"] == ("group 0", None)
    assert (None, "group 0") in did.optimizer.values()
    with watch(model) as did:
        del model[3]
        model[0] = nn.Identity()
    assert did.modules == {"3": ("Sequential", None), "0": ("Linear", "Identity")} and only(did, "modules")


def test_a_parameter_replaced_added_removed_or_reshaped_is_told():
    model = net()
    with watch(model) as did:
        model[0].weight = nn.Parameter(model[0].weight.detach().clone())
        model[1].bias = None
        model[2][1].register_parameter("scale", nn.Parameter(torch.ones(1)))
        model[2][1].weight.data = torch.zeros(3, 2)
        model[1].register_buffer("extra", torch.zeros(2), persistent=False)
        model[1].running_mean = model[1].running_mean.clone()
    assert only(did, "tensors")
    assert did.tensors == {
        "0.weight": ("parameter (2, 2)", "another parameter (2, 2)"),
        "1.bias": ("parameter (2,)", None),
        "2.1.weight": ("parameter (1, 2)", "parameter (3, 2)"),
        "2.1.scale": (None, "parameter (1,)"),
        "1.extra": (None, "buffer (2,)"),
        "1.running_mean": ("buffer (2,)", "another buffer (2,)"),
    }


def test_a_buffer_that_is_not_persistent_is_watched():
    model = nn.Module()
    model.register_buffer("cache", torch.tensor([True, False]), persistent=False)
    with watch(model) as did:
        model.cache[1] = True
    assert did.buffers == {"cache": 1}


def test_dtype_and_device_are_told_and_a_move_of_buffers_is_no_replacement():
    model = net()
    with watch(model) as did:
        model.double()
    assert only(did, "dtypes")  # the values are the same
    assert did.dtypes["1.running_mean"] == (torch.float32, torch.float64) and len(did.dtypes) == 8
    with watch(model) as did:
        model.to("meta")
    assert did.devices["0.weight"] == (torch.device("cpu"), torch.device("meta"))
    assert not did.parameters and not did.buffers


def test_hooks_of_modules_and_parameters_are_told():
    def spy(*_): ...

    model = net()
    old = model[0].register_forward_hook(spy)
    with watch(model) as did:
        old.remove()
        model[1].register_full_backward_hook(spy)
        model[2][1].weight.register_post_accumulate_grad_hook(spy)
    assert only(did, "hooks")
    name = spy.__qualname__
    assert did.hooks == {
        "0": ((f"forward: {name}",), ()),
        "1": ((), (f"backward: {name}",)),
        "2.1.weight": ((), (f"post_accumulate_grad: {name}",)),
    }


def test_a_lazy_model_s_first_forward_is_told():
    model = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d()).eval()
    with watch(model) as did:
        model(torch.randn(4, 2))
    assert did.tensors["0.weight"] == ("parameter uninitialised", "parameter (3, 2)")
    assert did.tensors["1.running_mean"] == ("buffer uninitialised", "buffer (3,)")
    assert not did.modules and not did.modes


def test_a_shared_parameter_is_told_once_and_an_untied_one_as_new():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    with watch(model) as did, torch.no_grad():
        model[1].weight += 1
    assert did.parameters == pytest.approx({"0.weight": 1})
    with watch(model) as did:
        model[1].weight = nn.Parameter(model[0].weight.detach().clone())
    assert did.tensors == {"1.weight": (None, "parameter (2, 2)")}


def test_freeze_is_told_even_where_it_changes_no_flag():
    model = net().eval().requires_grad_(False)
    with watch(model) as did:
        freeze(model[1])
    assert only(did, "frozen") and did.frozen == {"1": (False, True)}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_raises_is_told_too_and_its_exception_passes(error):
    model = net()
    with pytest.raises(error), watch(model) as did:
        model.eval()
        raise error
    assert len(did.modes) == 6


def test_inside_the_block_nothing_is_claimed():
    model = net()
    with watch(model) as did:
        model.eval()
        for ask in (bool, lambda did: did.modes):
            with pytest.raises(AttributeError, match="known when the block has ended"):
                ask(did)
        assert repr(did) == "What changed is known when the block has ended."
    with pytest.raises(AttributeError, match="watch tells modules, modes, .* it has no 'mode'"):
        did.mode  # noqa: B018


@pytest.mark.parametrize("exact", [True, False])
def test_watching_itself_changes_nothing(exact):
    model = net()
    model[0].register_forward_hook(lambda *_: None)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(4, 2)).sum().backward()
    optimizer.step()
    found, random = model_state(model), torch.get_rng_state()
    versions = [tensor._version for tensor in model.state_dict(keep_vars=True).values()]
    with watch(model, optimizer=optimizer, exact=exact):
        pass
    after = model_state(model)
    assert all(found[kind].keys() == after[kind].keys() for kind in found)
    assert all(same(value, after[kind][name]) for kind in found for name, value in found[kind].items())
    assert versions == [tensor._version for tensor in model.state_dict(keep_vars=True).values()]
    assert torch.equal(random, torch.get_rng_state())


def test_a_model_that_holds_its_parent_and_a_scripted_one_can_be_watched():
    model = net()
    model[2].add_module("parent", model)
    with watch(model) as did:
        model[1].eval()
    assert did.modes == {"1": ("train", "eval")}
    scripted = torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2))
    with watch(scripted) as did:
        scripted.eval()
    assert only(did, "modes")


class Cells(HTMLParser):
    def __init__(self):
        super().__init__()
        self.texts = []

    def handle_data(self, data):
        self.texts.append(data)


def test_many_like_changes_are_one_row_in_both_faces():
    model = nn.Sequential(*(nn.BatchNorm1d(2) for _ in range(9)))
    with watch(model) as did:
        model(9 + 9 * torch.randn(4, 2))
        model.eval()
        model[0].weight.requires_grad_(False)
    statistics = {name: by for name, by in did.buffers.items() if isinstance(by, float)}
    largest = max(statistics, key=statistics.get)
    assert did.table.rows == [
        {"what": "modes", "name": "10 of them, first (root)", "change": "train → eval"},
        {"what": "requires_grad", "name": "0.weight", "change": "True → False"},
        {
            "what": "buffers",
            "name": f"{len(statistics)} of them, most of all {largest}",
            "change": f"moved by {did.buffers[largest]:.3g}",
        },
        {"what": "buffers", "name": "9 of them, first 0.num_batches_tracked", "change": "moved by 1"},
    ]
    text, page = repr(did), Cells()
    page.feed(did._repr_html_())
    assert text.startswith(f"Changed: modes 10, requires_grad 1, buffers {len(did.buffers)}.")
    for row in did.table.rows:
        assert all(value in text and value in page.texts for value in row.values())


def test_a_wrong_model_or_optimizer_is_refused_at_the_door():
    with pytest.raises(TypeError, match="this is the class Linear"), watch(nn.Linear):
        pass
    optimizer = torch.optim.SGD(net().parameters(), lr=1)
    with (
        pytest.raises(TypeError, match="optimizer is a torch.optim.Optimizer; this is list"),
        watch(net(), optimizer=[optimizer]),
    ):
        pass
