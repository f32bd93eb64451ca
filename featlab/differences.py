"""How far a tensor has moved since it was kept: by a copy, or by a fingerprint of 8 bytes."""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.parameter import is_lazy

# elements worked on at a time: they stay in the processor's cache, and nothing of the tensor's own size is allocated
_PIECE = 2**16
# two large odd numbers without any pattern: the golden ratio and pi, as far as 64 bits hold them
_ODD = (-7046029254386353131, 2611923443488327891)


class Kept(NamedTuple):
    """What is remembered of a tensor: its kind, and its values as a copy or as a fingerprint."""

    shape: tuple[int, ...] | None  # None: a lazy tensor, which has none yet
    dtype: torch.dtype
    device: torch.device
    values: Tensor | int | None  # None: on the meta device or lazy, so there are none


def keep(tensor: Tensor, *, exact: bool = True) -> Kept:
    """Remember a tensor, by a copy of its values if `exact`, else by their fingerprint."""
    values = None
    if _has_values(tensor):
        values = tensor.detach().clone() if exact else fingerprint(tensor)
    return Kept(shape_of(tensor), tensor.dtype, tensor.device, values)


def shape_of(tensor: Tensor) -> tuple[int, ...] | None:
    """Return the shape, or None for a lazy tensor that has none yet."""
    return None if is_lazy(tensor) else tuple(tensor.shape)


def moved(kept: Kept, tensor: Tensor) -> float | int | None:
    """Return max |Δ| since `keep`: 0 if the values are the same, None if they are not and it is unknown by how much.

    NaN means that a NaN came or went; one that stayed is no change. Integers and booleans differ by an exact int.
    Values that came, went or changed shape have nothing to be compared with, and count as 0.
    """
    if kept.values is None or not _has_values(tensor) or kept.shape != shape_of(tensor):
        return 0
    if isinstance(kept.values, int):
        return 0 if kept.dtype == tensor.dtype and kept.values == fingerprint(tensor) else None
    then = kept.values if kept.values.device == tensor.device else kept.values.to(tensor.device)
    pairs = zip(_pieces(then), _pieces(tensor), strict=True)
    gaps = [_gap(a, b) for a, b in pairs if a.dtype != b.dtype or not torch.equal(a, b)]
    return max(gaps, key=lambda gap: (gap != gap, gap), default=0)


def fingerprint(tensor: Tensor) -> int:
    """Return a number of 64 bits that depends on each bit of the values and on its place.

    `torch.hash_tensor` is no help here: it joins by XOR, so equal changes in pairs, such as all signs flipped, vanish.
    """
    dense = _dense(tensor.detach()).resolve_conj().resolve_neg().contiguous()
    data = dense.reshape(-1).view(torch.uint8)
    if len(data) % 8 or data.storage_offset() % 8:
        data = functional.pad(data, (0, -len(data) % 8)).clone()
    words, weights = data.view(torch.int64), _weights(tensor.device)
    while len(words) != 1:
        sums = [_mixed(piece, weights[: len(piece)]) for piece in words.split(_PIECE)]
        words = torch.stack(sums)
    return int(words)


def _mixed(words: Tensor, weights: Tensor) -> Tensor:
    # the upper half is also added below: a product of 64 bits would keep nothing of a word's top bit but its parity
    mixed = words * _ODD[0]
    mixed += mixed >> 32
    return mixed.mul_(weights).sum()


@lru_cache(maxsize=8)
def _weights(device: torch.device) -> Tensor:
    """Return fixed odd numbers without any pattern, from arithmetic alone: no random number generator is touched."""
    mixed = torch.arange(1, _PIECE + 1, device=device) * _ODD[0]
    mixed = (mixed ^ (mixed >> 30)) * _ODD[1]
    return (mixed ^ (mixed >> 27)) | 1


def _has_values(tensor: Tensor) -> bool:
    return not (is_lazy(tensor) or tensor.is_meta)


def _dense(tensor: Tensor) -> Tensor:
    if tensor.is_quantized:
        return tensor.dequantize()
    return tensor if tensor.layout is torch.strided else tensor.to_dense()


def _pieces(tensor: Tensor) -> tuple[Tensor, ...]:
    values = _dense(tensor.detach())
    if values.is_floating_point() and values.dtype.itemsize == 1:
        values = values.float()  # torch compares no float8
    elif values.dtype is torch.complex32:
        values = values.to(torch.complex64)
    flat = values.reshape(-1)
    return (flat,) if len(flat) <= _PIECE else flat.split(_PIECE)


def _gap(a: Tensor, b: Tensor) -> float | int:
    if not a.numel():
        return 0
    if not (a.is_floating_point() or a.is_complex() or b.is_floating_point() or b.is_complex()):
        # through Python's own integers: a difference of int64 may not fit into one
        return max(abs(x - y) for x, y in zip(a.tolist(), b.tolist(), strict=True))
    wide = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    a, b = a.to(wide), b.to(wide)
    gaps = (b - a).abs()
    largest = gaps.max().item()
    if largest != largest:  # a NaN or an infinity that stayed is no change
        largest = gaps.masked_fill((a == b) | (a.isnan() & b.isnan()), 0).max().item()
    return largest
