import math

import numpy as np
import pytest
import torch
from torch import nn

from featlab.differences import _PIECE, fingerprint, keep, moved

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.complex64]
INTEGERS = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint64]


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("dtype", FLOATS + INTEGERS, ids=str)
def test_one_changed_element_is_seen_in_every_dtype(dtype, exact):
    tensor = torch.zeros(7, 3).to(dtype)
    kept = keep(tensor, exact=exact)
    assert moved(kept, tensor) == 0
    changed = torch.zeros(7, 3)
    changed[6, 2] = 1
    tensor.copy_(changed.to(dtype))
    assert moved(kept, tensor) == (1 if exact else None)


@pytest.mark.parametrize("size", [1, 5, _PIECE, _PIECE + 1, 3 * _PIECE + 7])
def test_the_gap_is_numpy_s(size):
    tensor = torch.randn(size, generator=torch.Generator().manual_seed(size))
    kept = keep(tensor)
    before = tensor.numpy().copy()
    tensor.add_(torch.linspace(-1, 2, size))
    assert moved(kept, tensor) == np.abs(tensor.numpy() - before).max()


def test_integers_differ_exactly_also_beyond_what_floats_and_int64_hold():
    tensor = torch.tensor([2**60])
    kept = keep(tensor)
    tensor += 1
    assert moved(kept, tensor) == 1
    kept = keep(torch.tensor([-(2**63)]))
    assert moved(kept, torch.tensor([2**63 - 1])) == 2**64 - 1


@pytest.mark.parametrize(
    ("before", "after", "gap"),
    [
        ([math.nan, 1.0], [math.nan, 1.0], 0),
        ([math.nan, 1.0], [math.nan, 3.0], 2),
        ([math.inf, 1.0], [math.inf, 1.5], 0.5),
        ([math.inf, -math.inf], [math.inf, -math.inf], 0),
        ([1.0, 1.0], [1.0, math.inf], math.inf),
        ([1.0, 1.0], [5.0, math.nan], math.nan),
        ([math.nan, 1.0], [2.0, 1.0], math.nan),
        ([0.0], [-0.0], 0),
    ],
)
def test_a_nan_or_infinity_that_stays_is_no_change_and_one_that_comes_is(before, after, gap):
    found = moved(keep(torch.tensor(before)), torch.tensor(after))
    assert found == gap or math.isnan(found) and math.isnan(gap)


def test_a_nan_in_one_piece_outranks_a_number_in_another():
    tensor = torch.zeros(3 * _PIECE)
    kept = keep(tensor)
    tensor[_PIECE] = math.nan
    tensor[-1] = 7
    assert math.isnan(moved(kept, tensor))


def test_another_dtype_is_compared_by_value():
    tensor = torch.tensor([1.0, 0.1])
    gap = moved(keep(tensor), tensor.half())
    assert gap == abs(np.float32(0.1) - np.float32(np.float16(0.1)))
    assert moved(keep(torch.tensor([1.0, 0.5])), torch.tensor([1.0, 0.5]).half()) == 0


@pytest.mark.parametrize("exact", [True, False])
def test_sparse_empty_strided_and_odd_storages(exact):
    sparse = torch.eye(3).to_sparse()
    kept = keep(sparse, exact=exact)
    assert moved(kept, sparse) == 0
    assert moved(kept, (torch.eye(3) * 3).to_sparse()) == (2 if exact else None)
    csr = torch.eye(3).to_sparse_csr()
    assert moved(keep(csr, exact=exact), csr) == 0
    empty = torch.empty(0, 3)
    assert moved(keep(empty, exact=exact), empty) == 0
    strided = torch.randn(4, 6)[1:, 1::2].T
    assert moved(keep(strided, exact=exact), strided.contiguous()) == 0


@pytest.mark.parametrize("exact", [True, False])
def test_what_has_no_values_counts_as_unmoved(exact):
    for tensor in (torch.empty(2, device="meta"), nn.UninitializedParameter(), nn.UninitializedBuffer()):
        assert moved(keep(tensor, exact=exact), tensor) == 0
        assert moved(keep(tensor, exact=exact), torch.ones(2)) == 0


@pytest.mark.parametrize("size", [64, 2 * _PIECE, 4 * _PIECE + 2])
def test_the_fingerprint_sees_what_cancels_in_a_sum_or_xor(size):
    tensor = torch.randn(size, generator=torch.Generator().manual_seed(0))
    ones, found = torch.ones(size), fingerprint(tensor)
    assert fingerprint(tensor.clone()) == found
    swapped = tensor.clone()
    swapped[[0, 2]] = tensor[[2, 0]]
    two_signs = tensor.clone()
    two_signs[[1, 3]] *= -1
    pairs = [tensor.index_fill(0, torch.tensor(pair), 0.0) for pair in ([0, 1], [2, 3], [0, 2])]
    others = [
        *pairs,
        -tensor,
        swapped,
        two_signs,
        tensor.flip(0),
        tensor.roll(_PIECE),
        tensor.nextafter(torch.tensor(9.0)),
    ]
    prints = [fingerprint(other) for other in others if not torch.equal(other, tensor)]
    assert found not in prints and len(set(prints)) == len(prints)
    assert len({fingerprint(ones * factor) for factor in (0, 1, -1, 2, 3)}) == 5


def test_no_two_pairs_of_flipped_signs_have_one_fingerprint():
    tensor = torch.randn(32, generator=torch.Generator().manual_seed(0))
    flips = [tensor.index_fill(0, torch.tensor([i, j]), 0) for i in range(32) for j in range(i)]
    flips = [torch.where(flip == 0, -tensor, tensor) for flip in flips]
    assert len({fingerprint(flip) for flip in [tensor, *flips]}) == 1 + 32 * 31 // 2
    constant = [torch.where(flip == tensor, 1.0, -1.0) for flip in flips]
    assert len({fingerprint(one) for one in [torch.ones(32), *constant]}) == 1 + 32 * 31 // 2


def test_keeping_touches_no_rng_no_graph_and_no_version():
    parameter = nn.Parameter(torch.randn(3))
    state, version = torch.get_rng_state(), parameter._version
    for exact in (True, False):
        kept = keep(parameter, exact=exact)
        moved(kept, parameter)
        if exact:
            assert not kept.values.requires_grad
    assert torch.equal(state, torch.get_rng_state()) and parameter._version == version
