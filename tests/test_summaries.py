import math

import pytest
import torch

from featlab import summaries
from featlab.summaries import percent, spread, summary, thinned


def test_range_zeros_nan_and_infinity():
    values = torch.tensor([0.0, 0, -2, 3, math.nan, math.inf, 1, 1])
    found = summary(values)
    assert (found.low, found.high) == (-2, math.inf)
    assert (found.zeros, found.nans, found.infinite) == (2 / 8, 1 / 8, 1 / 8)
    assert found.line() == "(8,) float32 · from -2 to inf · 25 % zeros · 12.5 % NaN · 12.5 % infinite"


@pytest.mark.parametrize(
    ("tensor", "line"),
    [
        (torch.tensor([True, False]), "(2,) bool · from 0 to 1 · 50 % zeros · 0 % NaN"),
        (torch.tensor(7), "() int64 · from 7 to 7 · 0 % zeros · 0 % NaN"),
        (torch.tensor([1.5, 2], dtype=torch.bfloat16), "(2,) bfloat16 · from 1.5 to 2 · 0 % zeros · 0 % NaN"),
        (torch.tensor([1, 65535], dtype=torch.uint16), "(2,) uint16 · from 1 to 6.55e+04 · 0 % zeros · 0 % NaN"),
        (torch.tensor([3 + 4j]), "(1,) complex64 · from 5 to 5 · 0 % zeros · 0 % NaN · magnitudes of complex numbers"),
        (torch.full((2,), math.nan), "(2,) float32 · 100 % NaN"),
        (torch.full((2,), -math.inf), "(2,) float32 · from -inf to -inf · 0 % zeros · 0 % NaN · 100 % infinite"),
        (torch.zeros(0, 3), "(0, 3) float32 · empty"),
    ],
)
def test_every_dtype_has_a_line(tensor, line):
    assert summary(tensor).line() == line


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: torch.zeros(2, device="meta"), "meta device"),
        (lambda: torch.eye(2).to_sparse(), "sparse_coo; .to_dense()"),
        (lambda: torch.nested.nested_tensor([torch.zeros(2)]), "nested; .to_padded_tensor(0.0)"),
    ],
)
def test_what_has_no_values_to_read_says_why(make, says):
    tensor = make()
    assert says in summary(tensor).line()
    assert summary(tensor).note
    assert summary(tensor).low is None
    assert spread(tensor) == {}


def test_an_enormous_tensor_is_read_in_part_and_says_so(monkeypatch):
    monkeypatch.setattr(summaries, "_READ", 100)
    tensor = torch.zeros(3, 1000).t()
    tensor[0] = 5
    found = summary(tensor)
    assert found.high == 5
    assert "one index in 32 of axis 0" in found.line()
    view, _ = thinned(tensor, 100)
    assert view.numel() <= 100
    assert view.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()


def test_spread_counts_the_finite_values():
    found = spread(torch.tensor([0.0, 1, 1, 4, math.nan, math.inf]), bins=4)
    assert found["counts"] == [1, 2, 0, 1]
    assert found["mean"] == 1.5
    assert found["std"] == pytest.approx(1.5)
    assert found["words"] == "Histogram from 0 to 4: fullest from 1 to 2, with 50 % of the values."


def test_spread_of_one_value_and_of_none():
    assert sum(spread(torch.ones(5))["counts"]) == 5
    assert spread(torch.full((3,), math.nan)) == spread(torch.zeros(0)) == {}


def test_a_share_is_0_or_100_only_where_it_is():
    assert [percent(share) for share in (0, 1e-9, 0.5, 1 - 1e-9, 1)] == ["0 %", "<0.1 %", "50 %", ">99.9 %", "100 %"]
