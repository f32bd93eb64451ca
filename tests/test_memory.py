"""Who shares with whom, against an oracle without addresses: write a mark on one side, look on the other."""

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import featlab as fl

MARK = 77


def sees(source: Tensor, other) -> bool:
    """Fill all of `source` with a mark and say whether `other` changed; then put it back."""
    before, then = source.clone(), values(other)
    source.fill_(MARK)
    changed = not np.array_equal(values(other), then)
    source.copy_(before)
    return changed


def values(x) -> np.ndarray:
    return x.numpy().copy() if isinstance(x, Tensor) else x.copy()


def row(value) -> dict:
    return fl.storages(x=value)[0]


# ---- sharing, decided by writing


def base() -> Tensor:
    return torch.arange(24.0).reshape(4, 6)


SHARING = {
    "slice": lambda t: t[1:, 2:4],
    "transpose": lambda t: t.T,
    "view": lambda t: t.view(3, 8),
    "reshape": lambda t: t.reshape(3, 8),
    "expand": lambda t: t[:1].expand(4, 6),
    "diagonal": lambda t: t.diagonal(),
    "one element": lambda t: t[2, 3],
    "detach": lambda t: t.detach(),
    "data": lambda t: t.data,
    "parameter": lambda t: nn.Parameter(t).detach(),
    "array": lambda t: t.numpy(),
    "array, from the middle": lambda t: t[2:].numpy(),
    "array, backwards": lambda t: t.numpy()[::-1, ::-2],
    "array and back": lambda t: torch.from_numpy(t.numpy()),
    "array, from the middle, and back": lambda t: torch.from_numpy(t.numpy()[2:, 1:]),
    "windows of an array": lambda t: np.lib.stride_tricks.sliding_window_view(t.numpy(), 2, axis=0),
    "read-only array": lambda t: np.broadcast_to(t.numpy()[:, :1], (4, 6)),
    "dlpack": lambda t: np.from_dlpack(t),
    "other dtype": lambda t: t.view(torch.int32),
    "array of bytes": lambda t: t.numpy().view(np.uint8),
    "masked array": lambda t: np.ma.masked_less(t.numpy(), 3, copy=False),
}
COPYING = {
    "clone": lambda t: t.clone(),
    "reshape of a transpose": lambda t: t.T.reshape(3, 8),
    "contiguous of a transpose": lambda t: t.T.contiguous(),
    "fancy index": lambda t: t[[0, 1]],
    "mask": lambda t: t[t > 3],
    "cast": lambda t: t.double(),
    "tensor": lambda t: torch.tensor(t.numpy()),
    "as_tensor with a cast": lambda t: torch.as_tensor(t.numpy(), dtype=torch.int64),
    "array copy": lambda t: t.numpy().copy(),
}


@pytest.mark.parametrize("make", SHARING.values(), ids=SHARING)
def test_what_sees_a_write_shares_a_storage(make):
    t = base()
    other = make(t)
    assert sees(t, other)
    assert fl.storages(t=t, other=other).shares("t", "other")


@pytest.mark.parametrize("make", COPYING.values(), ids=COPYING)
def test_what_sees_no_write_has_a_storage_of_its_own(make):
    t = base()
    other = make(t)
    assert not sees(t, other)
    assert not fl.storages(t=t, other=other).shares("t", "other")


def test_arrays_agree_with_numpy_on_a_hundred_random_pairs_of_slices():
    rng, a, b = np.random.default_rng(0), np.zeros((6, 8)), np.zeros((6, 8))
    for _ in range(100):
        first, second = (
            (a, b)[owner][top : top + 3, ::step]
            for owner, top, step in zip(
                rng.integers(0, 2, 2), rng.integers(0, 4, 2), rng.choice([-2, -1, 1, 3], 2), strict=True
            )
        )
        table = fl.storages(first=first, second=second)
        assert table.shares("first", "second") == (first.base is second.base)
        if np.shares_memory(first, second):  # an element in common is more than a storage in common
            assert table.shares("first", "second")


def test_two_halves_share_the_storage_though_no_element_is_in_both():
    t = base()
    assert not np.shares_memory(t[:2].numpy(), t[2:].numpy())
    assert fl.storages(a=t[:2], b=t[2:]).shares("a", "b")


def test_a_tensor_from_the_middle_of_an_array_says_where_in_it():
    a = np.arange(10.0)
    table = fl.storages(t=torch.from_numpy(a[3:]), a=a)
    assert [r["address"] for r in table] == ["A + 24 B", "A + 0 B"]
    assert table[0]["offset"] == 0  # torch knows nothing of the cells before


def test_an_array_joins_two_tensors_that_read_separate_parts_of_it():
    a = np.arange(10.0)
    parts = {"left": torch.from_numpy(a[:5]), "right": torch.from_numpy(a[5:])}
    assert not fl.storages(parts).shares("left", "right")  # adjacent, and no byte in common
    assert fl.storages(parts, a=a).groups == {"A": ["left", "right", "a"]}


def test_views_of_one_buffer_share_whoever_owns_it(tmp_path):
    buffer = bytearray(16)
    halves = {"left": np.frombuffer(buffer, np.uint8, 8), "right": np.frombuffer(buffer, np.uint8, 8, offset=8)}
    assert fl.storages(halves).shares("left", "right")
    assert fl.storages(t=torch.frombuffer(buffer, dtype=torch.uint8), **halves).groups == {"A": ["t", "left", "right"]}
    (tmp_path / "cells.bin").write_bytes(bytes(16))
    mapped = np.memmap(tmp_path / "cells.bin", mode="r+")
    assert fl.storages(mapped=mapped, later=mapped[3:]).shares("mapped", "later")


def test_two_arrays_of_one_tensor_share_its_storage_though_it_is_not_asked():
    t = base()
    assert fl.storages(top=t[:2].numpy(), bottom=t[2:].numpy()).shares("top", "bottom")


def test_an_array_with_an_opaque_owner_spans_what_it_can_reach_backwards():
    a = np.arange(10.0)

    class Owner:
        __array_interface__ = a[4:8][::-1].__array_interface__

    backwards = np.asarray(Owner())
    assert backwards.tolist() == [7, 6, 5, 4]
    assert fl.storages(backwards=backwards, t=torch.from_numpy(a[:5])).shares("backwards", "t")
    assert not fl.storages(backwards=backwards, t=torch.from_numpy(a[:4])).shares("backwards", "t")


def test_the_same_number_on_two_devices_is_two_storages():
    from featlab.memory import _letter

    rows = [
        {"name": d, "storage": None, "data_ptr": 64, "block": (d, 64, 128), "note": None} for d in ("cpu", "cuda:0")
    ]
    _letter(rows)
    assert [r["storage"] for r in rows] == ["A", "B"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_cuda_tensor_shares_with_its_views_only():
    t = torch.arange(6.0, device="cuda")
    table = fl.storages(t=t, view=t[2:], back=t.cpu())
    assert table.groups == {"A": ["t", "view"], "B": ["back"]}
    assert table[0]["device"] == "cuda:0"


# ---- what a row says


def test_a_row_says_what_torch_says():
    t = torch.arange(24, dtype=torch.bfloat16).reshape(2, 3, 4)[1:, ::2]
    t += 1
    got = row(t)
    assert (got["offset"], got["shape"], got["strides"]) == (t.storage_offset(), tuple(t.shape), t.stride())
    assert (got["dtype"], got["version"], got["device"], got["type"]) == ("torch.bfloat16", t._version, "cpu", "Tensor")
    assert got["data_ptr"] == t.data_ptr()
    assert got["address"] == f"A + {t.data_ptr() - t.untyped_storage().data_ptr()} B"


def test_an_array_row_counts_strides_in_elements_and_has_neither_offset_nor_version():
    a = np.zeros((4, 6), np.float32)[::-2, ::3]
    got = row(a)
    assert got["strides"] == tuple(s // 4 for s in a.strides) == (-12, 3)
    assert (got["offset"], got["version"], got["dtype"], got["device"]) == (None, None, "float32", "cpu")
    assert got["address"] == f"A + {3 * 6 * 4} B"


def test_a_field_of_a_structured_array_counts_strides_in_bytes_and_says_so():
    records = np.zeros(3, "i4, f8")
    table = fl.storages(records=records, field=records["f1"])
    assert table.shares("records", "field")
    assert (table[1]["strides"], table[1]["note"], table[1]["address"]) == ((12,), "strides in bytes", "A + 4 B")


def test_flags_that_change_what_is_read_stand_in_the_note():
    locked = np.zeros(3)
    locked.flags.writeable = False
    assert row(locked)["note"] == "read-only"
    assert row(torch.ones(2, dtype=torch.complex64).conj())["note"] == "reads as its conjugate"
    assert row(torch.ones(2, dtype=torch.complex64).conj().imag)["note"] == "reads with the sign turned"
    with torch.inference_mode():
        t = torch.ones(2)
    assert (row(t)["version"], row(t)["note"]) == (None, "inference tensor: keeps no version")


@pytest.mark.parametrize("value", [torch.tensor(3.0), np.array(3.0), nn.Parameter(torch.ones(2)), torch.ones(3).bool()])
def test_scalars_parameters_and_booleans_are_ordinary_rows(value):
    assert row(value)["storage"] == "A"
    assert row(value)["type"] == type(value).__name__


# ---- what has no memory of its own


def fake() -> Tensor:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        return torch.empty(3)


def compressed() -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its own csr layout a beta
        return torch.eye(3).to_sparse_csr()


def jagged() -> Tensor:
    return torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)


WITHOUT = {
    "empty tensor": (lambda: torch.empty(0), "empty"),
    "empty array": (lambda: np.empty((0, 3)), "empty"),
    "meta": (lambda: torch.empty(3, device="meta"), "without memory"),
    "fake": (fake, "without memory"),
    "sparse": (lambda: torch.eye(3).to_sparse(), ".values()"),
    "compressed sparse": (compressed, ".crow_indices()"),
    "jagged": (jagged, ".values()"),
    "mkldnn": (lambda: torch.ones(3).to_mkldnn(), "hides"),
    "lazy": (lambda: nn.LazyLinear(2).weight, "first forward"),
}


@pytest.mark.parametrize(("make", "word"), WITHOUT.values(), ids=WITHOUT)
def test_what_has_no_storage_to_share_says_why_and_has_no_letter(make, word):
    value = make()
    table = fl.storages(x=value, again=value, t=torch.ones(1))
    assert word in table[0]["note"]
    assert table.groups == {"A": ["t"]}
    assert not table.shares("x", "again")
    assert word in repr(table)


def test_an_empty_view_still_holds_its_storage():
    t = base()
    assert fl.storages(t=t, none=t[:0]).shares("t", "none")


def test_inside_vmap_and_grad_a_wrapped_tensor_is_a_row_not_an_error():
    notes = []

    def look(x):
        notes.append(row(x)["note"])
        return x.sum()

    torch.func.grad(look)(torch.ones(3))
    torch.func.vmap(look)(torch.ones(2, 3))
    assert notes == ["wraps another tensor"] * 2


def test_quantised_and_nested_tensors_have_a_storage():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls both deprecated or a prototype
        quantised = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.quint8)
        nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    assert fl.storages(q=quantised, part=quantised[1:]).shares("q", "part")
    assert row(nested)["storage"] == "A"


# ---- the table


def test_the_caption_says_who_shares():
    t = base()
    say = lambda **values: fl.storages(**values).caption  # noqa: E731
    assert say(a=t, b=t.T, c=t.clone()) == "a and b share storage A; c has its own."
    assert say(a=t, b=t.T, c=t[0], d=t.clone(), e=t.clone()) == "a, b and c share storage A; d and e have their own."
    assert say(a=t, b=t.clone()) == "No two share a storage."
    pairs = {f"{x}{i}": y for i in range(5) for y in [t.clone()] for x in "pq"}
    assert "2 more storages are shared" in say(**pairs)
    assert "and 24 more share" in say(**{f"v{i}": t for i in range(30)})


def test_letters_follow_the_order_given_and_go_on_after_z():
    table = fl.storages({str(i): torch.zeros(1) for i in range(28)})
    assert [r["storage"] for r in table][:2] == ["A", "B"]
    assert [r["storage"] for r in table][25:] == ["Z", "AA", "AB"]


def test_a_state_dict_shows_tied_weights():
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    assert fl.storages(model.state_dict()).groups == {"A": ["0.weight", "1.weight"]}


def test_both_faces_hold_what_the_columns_promise():
    table = fl.storages(t=base())
    for word in ("address", "offset", "shape", "strides", "dtype", "version", "device", "A + 0 B"):
        assert word in repr(table)
        assert word in table._repr_html_()
    assert "note" not in repr(table)


def test_shares_of_an_unknown_name_says_which_names_there_are():
    with pytest.raises(KeyError, match="'c' is not in this table. It has: a, b"):
        fl.storages(a=base(), b=base()).shares("a", "c")


# ---- at the door


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: fl.storages(), TypeError, "given nothing"),
        (lambda: fl.storages(base()), TypeError, r"a Tensor without a name.*fl.storages\(t=t\)"),
        (lambda: fl.storages(base(), base()), TypeError, "without a name"),
        (lambda: fl.storages(nn.Linear(1, 1)), TypeError, r"state_dict\(\)"),
        (lambda: fl.storages(xs=[1, 2]), TypeError, "xs, a list.*one block"),
        (lambda: fl.storages(x=np.float32(3)), TypeError, "x, a float32"),
        (lambda: fl.storages({"t": base()}, t=base()), ValueError, "'t' twice"),
    ],
)
def test_what_cannot_be_compared_is_said_at_the_door(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_an_empty_mapping_gives_an_empty_table():
    assert not fl.storages({})


# ---- looking moves nothing


def test_looking_changes_neither_values_nor_versions_nor_flags():
    t, w = base(), torch.ones(2, requires_grad=True)
    locked = np.zeros(3)
    locked.flags.writeable = False
    before = t.clone(), t._version, w._version, torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fl.storages(t=t, w=w, view=w[1:], locked=locked, fake=fake())
    assert t.equal(before[0])
    assert (t._version, w._version) == before[1:3]
    assert torch.get_rng_state().equal(before[3])
    assert not locked.flags.writeable
    assert w.is_leaf
    assert w.requires_grad


def test_it_works_under_inference_mode_and_another_default_device():
    t = base()
    with torch.inference_mode(), torch.device("meta"):
        assert fl.storages(t=t, view=t[1:]).shares("t", "view")
