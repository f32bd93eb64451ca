import pytest
from torch import nn

from featlab.outlines import UNKNOWN, human, outline


class Tied(nn.Module):
    """A module under two names, two modules that share a weight, and a repeated block."""

    def __init__(self):
        super().__init__()
        self.inside = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
        self.again = self.inside
        self.first = nn.Linear(4, 4, bias=False)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight


def test_parameters_below_each_submodule_are_counted_once():
    model = nn.Sequential(Tied(), nn.Sequential(Tied()))
    tree = outline(model)
    for name, count in zip(tree.names, tree.parameters, strict=True):
        assert count == sum(p.numel() for p in model.get_submodule(name).parameters()), name
    assert (
        tree.title
        == f"Sequential, {len(tree.names)} submodules, {sum(p.numel() for p in model.parameters())} parameters"
    )


def test_rows_are_in_model_order_under_every_name():
    tree = outline(Tied())
    assert tree.names == ["inside", "inside.0", "inside.1", "again", "again.0", "again.1", "first", "second"]
    assert tree.depths == [0, 1, 1, 0, 1, 1, 0, 0]
    assert tree.kinds[:2] == ["Sequential", "Linear"]
    assert tree.other_names(tree.modules[1], "inside.0") == ["again.0"]


def test_marks_say_mode_frozen_and_shared_in_words():
    model = Tied().eval()
    model.inside[1].train()
    model.inside[0].requires_grad_(False)
    model.second.bias.requires_grad_(False)
    tree = outline(model)
    marks = dict(zip(tree.names, tree.marks, strict=True))
    assert marks["inside"] == "○ eval  ■ frozen  ⇄ shared"
    assert marks["inside.1"] == "● train  ⇄ shared"
    assert marks["first"] == "○ eval  ⇄ shared"
    assert marks["second"] == "○ eval  ◧ part frozen  ⇄ shared"
    assert outline(nn.Sequential(nn.Linear(1, 1))).marks == ["● train"]


def test_lazy_parameters_are_unknown():
    tree = outline(nn.Sequential(nn.Sequential(nn.LazyLinear(2)), nn.Linear(2, 2)))
    assert tree.parameters == [UNKNOWN, UNKNOWN, 6]
    assert tree.title.endswith(", lazy parameters")


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1 K"),
        (9408, "9.41 K"),
        (999_499, "999 K"),
        (999_500, "1 M"),
        (11_689_512, "11.7 M"),
    ]
    + [(7_241_732_096, "7.24 B"), (10**15, "1e+03 T"), (UNKNOWN, "lazy")],
)
def test_numbers_are_said_in_three_digits(count, said):
    assert human(count) == said


def test_what_is_no_module_is_refused():
    with pytest.raises(TypeError, match="looks into an nn.Module"):
        outline(nn.Linear)
