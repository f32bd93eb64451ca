"""What autograd recorded, against what the operations are known to record."""

import matplotlib
import pytest
import torch
from torch import nn

from featlab import graphs

matplotlib.use("Agg")


def steps(tensor, **names) -> dict[int, str]:
    return {node.number: node.words for node in graphs.nodes(tensor, **names)}


def test_each_step_is_told_with_what_it_keeps_and_leaves_by_their_names():
    w, x = torch.ones(2, 3, requires_grad=True), torch.ones(3, 4)
    found = steps((w @ x).exp().sum(), w=w)
    assert list(found.values()) == ["Sum", "Exp keeps result (2, 4)", "Mm keeps mat2 (3, 4)", "leaf w"]


def test_a_step_used_twice_is_one_node_below_both():
    w = torch.ones(3, requires_grad=True)
    a = w * 2
    found = graphs.nodes(a.exp() + a, w=w)
    (shared,) = [node for node in found if node.step == "MulBackward0"]
    assert sum(shared.number in node.before for node in found) == 2
    assert shared.depth == 2 and found[-1].step == "leaf" or any(node.step == "leaf" for node in found)
    assert all(found[after].depth > node.depth for node in found for after in node.before)


def test_every_parameter_of_a_model_is_a_leaf_of_its_loss():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    loss = model(torch.randn(5, 3)).sum()
    leaves = {
        node.name
        for node in graphs.nodes(loss, **{name: p for name, p in zip("abcd", model.parameters(), strict=True)})
    }
    assert leaves - {""} == set("abcd")


def test_what_backward_has_thrown_away_is_not_told():
    w = torch.ones(3, requires_grad=True)
    y = w.exp().sum()
    y.backward()
    assert list(steps(y, w=w).values()) == ["Sum", "Exp", "leaf w"]


def test_an_unnamed_leaf_is_told_by_its_shape():
    assert "leaf (3,)" in steps(torch.ones(3, requires_grad=True) * 2).values()
    assert "leaf one number" in steps(torch.tensor(1.0, requires_grad=True) * 2).values()


@pytest.mark.parametrize("given", [torch.ones(2), torch.ones(2, requires_grad=True), 3])
def test_what_has_no_graph_is_refused(given):
    with pytest.raises(ValueError, match="Nothing was recorded"):
        graphs.nodes(given)


def test_the_picture_shows_every_step_and_fits_a_page():
    w = torch.ones(3, requires_grad=True)
    figure = graphs.draw((w.exp() + w.sin() + w).sum(), w=w)
    words = {text.get_text().replace("\n", " ") for text in figure.axes[0].texts}
    assert {"leaf w", "Sum", "Exp keeps result (3,)", "Sin keeps self (3,)"} <= words
    assert figure.get_size_inches()[0] <= 8
