"""The three instruments, against numbers taken by hand with torch alone."""

import math

import matplotlib.pyplot as plt
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from featlab import signals
from featlab.states import changed, model_state


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 8),
        nn.Dropout(0.5),
        nn.Linear(8, 3),
    )


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(12, 1, 4, 4, generator=generator), torch.arange(12) % 3


def test_the_numbers_are_those_taken_by_hand(net, batch):
    x, labels = batch
    net.eval()
    rows = signals.measure(net, x, labels).rows
    outputs = [net[:1](x), net[:5](x), net(x)]
    loss = F.cross_entropy(outputs[-1], labels)
    weights = [net[0].weight, net[4].weight, net[6].weight]
    gradients = torch.autograd.grad(loss, weights)
    assert [row["layer"] for row in rows] == ["0", "4", "6"]
    for row, output, weight, gradient in zip(rows, outputs, weights, gradients, strict=True):
        units = output.detach().flatten(1).numpy().std(0, ddof=1)
        assert math.isclose(row["activations"], math.sqrt((units**2).mean()), rel_tol=1e-5)
        assert math.isclose(row["weights"], weight.detach().numpy().std(ddof=1), rel_tol=1e-5)
        assert math.isclose(row["gradients"], gradient.numpy().std(ddof=1), rel_tol=1e-5)


def test_what_all_samples_share_is_no_signal(batch):
    x, labels = batch
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Linear(8, 3))
    before = signals.measure(net, x, labels).of("activations")
    with torch.no_grad():
        net[2].bias += 1000
    assert signals.measure(net, x, labels).of("activations") == pytest.approx(before, rel=1e-3)
    assert signals.measure(net, x, labels).arrives == pytest.approx(before[1] / before[0], rel=1e-3)


def test_a_constant_weight_has_no_spread_at_all(batch):
    x, labels = batch
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 300), nn.Linear(300, 3))
    nn.init.constant_(net[1].weight, 0.01)
    assert signals.measure(net, x, labels)[0]["weights"] == 0


@pytest.mark.parametrize("train", [True, False])
def test_measuring_leaves_the_model_and_the_random_numbers_as_found(net, batch, train):
    net.train(train)
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    before, generator = model_state(net), torch.get_rng_state()
    with torch.no_grad():  # and it works where recording is off
        signals.measure(net, *batch)
    after = model_state(net)
    assert {kind: changed(before[kind], after[kind]) for kind in before} == dict.fromkeys(before, [])
    assert torch.equal(generator, torch.get_rng_state())
    assert all((parameter.grad == 1).all() for parameter in net.parameters())


def test_layers_come_in_the_order_they_ran_and_others_not_at_all(batch):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.unused, self.first = nn.Linear(5, 3), nn.Linear(5, 5), nn.Linear(16, 5)

        def forward(self, x):
            return self.last(self.first(x.flatten(1)))

    assert [row["layer"] for row in signals.measure(Odd(), *batch)] == ["first", "last"]


def test_bad_input_is_refused_at_the_door(net, batch):
    x, labels = batch
    with pytest.raises(ValueError, match="batch of 1 has no spread"):
        signals.measure(net, x[:1], labels[:1])
    with pytest.raises(ValueError, match="no weight|No submodule"):
        signals.measure(nn.Sequential(nn.ReLU(), nn.Flatten()), x, labels)
    with pytest.raises(ValueError, match="reaches no weight"):
        signals.measure(net.requires_grad_(False), x, labels)


def rows(*values: float) -> signals.Signals:
    return signals.Signals(
        [{"layer": str(n), "weights": v, "activations": v, "gradients": v} for n, v in enumerate(values)]
    )


def test_each_network_is_a_line_in_each_of_three_panels_whatever_its_numbers():
    figure = signals.draw({"fades": rows(1, 1e-3, 0), "bursts": rows(1, 1e30, float("nan")), "level": rows(1, 1, 1)})
    assert [ax.get_title() for ax in figure.axes] == ["weights", "activations", "gradients"]
    for ax in figure.axes:
        fades, bursts, level = (line.get_ydata() for line in ax.lines)
        assert list(fades) == [1, 1e-3, 1e-12] and list(bursts) == [1, 1e12, 1e12] and list(level) == [1, 1, 1]
        # told apart without colour
        assert len({(line.get_marker(), line.get_linestyle()) for line in ax.lines}) == 3
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["fades", "bursts", "level"]


def test_small_multiples_stand_in_rows_and_columns_on_one_scale():
    sweep = {
        (row, column): rows(1, number)
        for number, (row, column) in enumerate([("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")], 1)
    }
    figure = signals.multiples(sweep)
    assert [ax.get_title() for ax in figure.axes[:2]] == ["x", "y"]
    assert [ax.get_ylabel() for ax in figure.axes[::2]] == ["a", "b"]
    assert [ax.lines[0].get_ydata()[1] for ax in figure.axes] == [1, 2, 3, 4]
    assert len({ax.get_ylim() for ax in figure.axes}) == 1


def test_the_table_shows_numbers_in_both_faces():
    found = rows(0.123456, 1e-9)
    assert "0.12" in repr(found) and "1e-09" in repr(found) and "1e-09" in found._repr_html_()
    assert found.arrives == pytest.approx(1e-9 / 0.123456)
