"""What a tensor holds, in numbers: its range, its zeros, what is not a number, how its values are spread."""

from typing import NamedTuple

import torch
from torch import Tensor

from .structures import describe

_READ = 2**23  # elements; of a larger tensor evenly spaced ones are read
_SPREAD = 2**20
_WIDE = {torch.uint16, torch.uint32, torch.uint64}


class Summary(NamedTuple):
    """The numbers of one tensor; `low` and `high` leave NaN out, `mean` and `std` infinite values too."""

    what: str
    low: float | None = None
    high: float | None = None
    zeros: float = 0.0
    nans: float = 0.0
    infinite: float = 0.0
    note: str = ""

    def line(self) -> str:
        """Return all of it as one line of text."""
        parts = [self.what]
        if self.low is not None:
            parts.append(f"from {short(self.low)} to {short(self.high)}")
            parts.append(f"{percent(self.zeros)} zeros")
        if self.low is not None or self.nans:
            parts.append(f"{percent(self.nans)} NaN")
        if self.infinite:
            parts.append(f"{percent(self.infinite)} infinite")
        return " · ".join(parts + [self.note] * bool(self.note))


def summary(tensor: Tensor) -> Summary:
    """Return range, share of zeros, of NaN and of infinite values.

    Complex values are read by their magnitude. Of more than eight million values evenly spaced ones are read; the note
    says so.
    """
    where = "" if tensor.device.type == "cpu" else f" on {tensor.device}"
    what = describe(tensor) + where
    if why := unreadable(tensor):
        return Summary(what, note=why)
    picked, notes = thinned(tensor, _READ)
    values, note = plain(picked)
    note = ", ".join([note] * bool(note) + notes)
    if values.numel() == 0:
        return Summary(what, note="empty")
    zeros = 1 - values.count_nonzero().item() / values.numel()
    low, high = (end.item() for end in values.aminmax())
    if abs(low) < float("inf") and abs(high) < float("inf"):  # the usual case needs no second pass; NaN is no less
        return Summary(what, low, high, zeros, note=note)
    nan = values.isnan()
    share = nan.sum().item() / values.numel()
    if share == 1:
        return Summary(what, nans=1.0, note=note)
    low, high = (end.item() for end in values[~nan].aminmax())
    return Summary(what, low, high, zeros, share, values.isinf().sum().item() / values.numel(), note)


def spread(tensor: Tensor, *, bins: int = 40) -> dict:
    """Return mean, std and a histogram of the finite values: {"mean", "std", "counts", "words"}, or {}.

    Of more than a million values evenly spaced ones are counted; the words say so.
    """
    if unreadable(tensor):
        return {}
    picked, notes = thinned(tensor, _SPREAD)
    values, note = plain(picked)
    values = values.cpu().to(torch.float64).flatten()
    values = values[values.isfinite()]
    if values.numel() == 0:
        return {}
    std, mean = torch.std_mean(values, correction=0)
    low, high = (end.item() for end in values.aminmax())
    counts = values.histc(bins, low, high).long()
    width, fullest = (high - low) / bins, int(counts.argmax())
    where = f"from {short(low + fullest * width)} to {short(low + (fullest + 1) * width)}"
    share = percent(counts[fullest].item() / len(values))
    words = f"Histogram from {short(low)} to {short(high)}: fullest {where}, with {share} of the values"
    return {
        "mean": mean.item(),
        "std": std.item(),
        "counts": counts.tolist(),
        "words": ", ".join([words] + [note] * bool(note) + notes) + ".",
    }


def unreadable(tensor: Tensor) -> str:
    """Say why a tensor has no values that could be read one by one, else ""."""
    if tensor.is_meta:
        return "on the meta device a tensor has a shape and no values"
    if tensor.is_nested:
        return "it is nested; .to_padded_tensor(0.0) would give numbers to show"
    if tensor.layout != torch.strided:
        return f"its layout is {str(tensor.layout).removeprefix('torch.')}; .to_dense() would give numbers to show"
    return ""


def thinned(tensor: Tensor, limit: int) -> tuple[Tensor, list[str]]:
    """Return a view of at most `limit` elements, evenly spaced, and in words which ones."""
    steps = [1] * tensor.ndim
    sizes = list(tensor.shape)
    while torch.Size(sizes).numel() > limit:
        axis = max(range(tensor.ndim), key=lambda axis: sizes[axis])
        steps[axis] *= 2
        sizes[axis] = -(-tensor.shape[axis] // steps[axis])
    view = tensor[tuple(slice(None, None, step) for step in steps)]
    return view, [f"read: one index in {step} of axis {axis}" for axis, step in enumerate(steps) if step > 1]


def plain(tensor: Tensor) -> tuple[Tensor, str]:
    """Return the values as a tensor that torch can do arithmetic with, and in words what was done to them."""
    values = tensor.detach().resolve_conj().resolve_neg()
    if values.is_complex():
        return values.abs(), "magnitudes of complex numbers"
    if values.dtype == torch.bool:
        return values.to(torch.uint8), ""
    if values.is_quantized:
        return values.dequantize(), ""
    if values.is_floating_point() and values.element_size() < 4:
        return values.float(), ""
    return (values.to(torch.float64), "") if values.dtype in _WIDE else (values, "")


def short(value: float) -> str:
    """Return a number in three digits, as a reader writes it."""
    return str(value) if isinstance(value, int) and abs(value) < 10**6 else f"{value:.3g}"


def percent(share: float) -> str:
    """Return a share as a percentage that is 0 or 100 only where it is exactly that."""
    if 0 < share < 0.001:
        return "<0.1 %"
    if 0.999 < share < 1:
        return ">99.9 %"
    return f"{100 * share:.3g} %"
