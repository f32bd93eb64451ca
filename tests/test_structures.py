from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from torch import nn

from featlab.structures import describe, leaves, map_leaves, paths


class Pair(NamedTuple):
    a: object
    b: object


@dataclass(frozen=True)
class Output:
    logits: torch.Tensor
    hidden: tuple = ()
    note: str = "x"


class Bag(dict):
    pass


class Rows(list):
    pass


def test_every_container_keeps_its_type_and_the_given_value_stays_as_it_was():
    t = torch.arange(3.0)
    value = {
        "pair": Pair(t, None),
        "list": [t, (t, 3)],
        "ordered": OrderedDict(z=t, a=1),
        "default": defaultdict(list, k=t),
        "bag": Bag(k=t),
        "rows": Rows([t]),
        "output": Output(t, (t,)),
        "max": torch.max(t, 0),
        "packed": nn.utils.rnn.pack_sequence([t]),
    }
    changed = map_leaves(torch.Tensor, lambda leaf: leaf + 1, value)
    assert [type(item) for item in changed.values()] == [type(item) for item in value.values()]
    assert torch.equal(changed["output"].hidden[0], t + 1)
    assert changed["output"].note == "x"
    assert changed["pair"].b is None
    assert list(changed["ordered"]) == ["z", "a"]
    assert changed["default"].default_factory is list
    assert torch.equal(changed["max"].values, torch.tensor(3.0))
    assert all(torch.equal(leaf, t) for leaf in leaves(torch.Tensor, value["list"]))
    assert value["output"].logits is t


def test_no_constructor_is_called_and_attributes_go_along():
    class Two(tuple):
        def __new__(cls, first, second):
            return super().__new__(cls, (first, second))

    class Line(list):
        def __init__(self, first, second):
            super().__init__((first, second))

    for value in (Two(torch.zeros(1), 3), Line(torch.zeros(1), 3)):
        value.note = "kept"
        changed = map_leaves(torch.Tensor, lambda leaf: leaf + 1, value)
        assert type(changed) is type(value)
        assert (changed[0], changed[1], changed.note) == (1, 3, "kept")
        assert value[0] == 0
    packed = nn.utils.rnn.pack_sequence([torch.ones(1)])
    assert map_leaves(torch.Tensor, lambda leaf: None, packed).batch_sizes is None
    assert map_leaves(int, lambda leaf: leaf + 1, torch.Size([1, 2])) == torch.Size([2, 3])


def test_what_is_no_container_is_returned_as_it_is():
    thing = object()
    assert map_leaves(torch.Tensor, lambda leaf: 0, thing) is thing
    assert map_leaves(torch.Tensor, lambda leaf: 0, Output) is Output


def test_describe_says_shape_and_type_in_a_line():
    t = torch.zeros(2, 3)
    assert describe(t) == "(2, 3) float32"
    assert describe((t, None)) == "tuple of 2: (2, 3) float32, None"
    assert describe({"a": t}) == "dict of 1: a: (2, 3) float32"
    assert describe([1, 2, 3, 4]).endswith("…")


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_a_nested_tensor_has_no_shape_and_is_described_all_the_same(layout):
    nested = torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)], layout=layout)
    assert describe([nested]) == "list of 1: nested tensor of 2 float32"


def test_paths_lead_to_each_leaf():
    t = torch.zeros(1)
    value = {"pair": Pair(t, [t, None]), "output": Output(t, (t,)), 3: "no leaf"}
    found = paths(torch.Tensor, value)
    assert all(leaf is t for _, leaf in found)
    # the path is what one types behind the value
    assert all(eval(f"value{path}", {"value": value}) is t for path, _ in found)
    assert [path for path, _ in found][:2] == ["['pair'].a", "['pair'].b[0]"]
    assert paths(torch.Tensor, t) == [("", t)]
