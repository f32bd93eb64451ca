"""A picture of one feature that fits its shape: channels as tiles, a vector as bars, attention as a matrix."""

import io
import math
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from .structures import describe, paths
from .summaries import plain, short, summary, unreadable

TILES = 64  # channels in one picture
_SIDE = 440  # pixels that a picture is near to, up to a half more or a third less
_BARS = 1024
_LEFT, _TOP, _BELOW, _GAP = 34, 6, 46, 3
_DPI = 100
_INK, _BLUE, _LIGHT, _RED, _WRONG = "#333333", "#2166ac", "#f2f2f2", "#b2182b", "#000000"


class Panel(NamedTuple):
    """A picture, or b"" where there is nothing to draw, and what is said beside it.

    `steps` are what can be paged through: {"key": "image" | "page" | "part", "at": 0, "of": 8, "text": "image 0 of 8"}.
    """

    png: bytes
    line: str
    caption: str
    steps: list[dict]
    tensor: Tensor | None

    @property
    def alt(self) -> str:
        """The picture in words."""
        return f"{self.caption} Over the whole tensor: {self.line}."


def panel(value: Any, *, batch: tuple[str, int] | None = None, image: int = 0, page: int = 0, part: int = 0) -> Panel:
    """Return a picture of what a submodule returned, and its numbers.

    Args:
        value: a tensor, or any structure with tensors inside.
        batch: what axis 0 counts and how many, such as ("image", 8); without it a tensor of at most 3 axes is taken
            for one without a batch.
        image: which one of the batch.
        page: which 64 of the channels.
        part: which tensor of a structure.

    At most some 300,000 values leave the tensor's device, however large it is.
    """
    found = paths(Tensor, value)
    if not found:
        return Panel(b"", describe(value), "There is no tensor in it to draw.", [], None)
    part %= len(found)
    path, tensor = found[part]
    steps, words = [], []
    if len(found) > 1:
        steps.append({"key": "part", "at": part, "of": len(found), "text": f"part {path}, {part + 1} of {len(found)}"})
        words.append(f"Part {path} of {describe(value)}.")
    line = summary(tensor).line()
    if unreadable(tensor):
        return Panel(b"", line, " ".join([*words, "Without values there is no picture."]), steps, tensor)
    if tensor.numel() == 0:
        return Panel(b"", line, " ".join([*words, f"It is empty: shape {tuple(tensor.shape)}."]), steps, tensor)
    png, caption = _draw(tensor, batch, image, page, steps)
    return Panel(png, line, " ".join([*words, caption]), steps, tensor)


def _draw(tensor: Tensor, batch: tuple[str, int] | None, image: int, page: int, steps: list[dict]) -> tuple[bytes, str]:
    """Cut the tensor down to what fits a picture, and draw that."""
    of_batch = batch is not None and tensor.ndim > 0 and tensor.shape[0] == batch[1]
    rest, where, axis = tensor.detach(), "", 0
    if tensor.ndim >= 4 or (tensor.ndim >= 2 and of_batch):
        image %= tensor.shape[0]
        rest, axis = rest[image], 1
        noun = batch[0] if of_batch else "index"
        where = f"{noun} {image} of {tensor.shape[0]}" + ("" if of_batch else " on axis 0")
        steps.append({"key": "image", "at": image, "of": tensor.shape[0], "text": where})
    while rest.ndim > 3:  # a volume: its channels are kept, and each is cut in the middle
        middle, axis = rest.shape[1] // 2, axis + 1
        where += f", the middle of axis {axis} (index {middle} of {rest.shape[1]})"
        rest = rest[:, middle]
    if rest.ndim > 1 and rest.numel() == max(rest.shape):
        rest = rest.flatten()
    if rest.ndim == 0:
        return b"", " ".join(filter(None, [f"One number: {short(plain(rest)[0].item())}.", _sentence(where)]))
    if rest.ndim == 1:
        return _bars(rest, where, f"one for each {batch[0]}" if of_batch and tensor.ndim == 1 else "")
    if rest.ndim == 2:
        return _matrix(rest, where, tensor.ndim)
    return _tiles(rest, where, page, steps)


def _tiles(rest: Tensor, where: str, page: int, steps: list[dict]) -> tuple[bytes, str]:
    """Draw (C, H, W) as tiles in reading order."""
    total, height, width = rest.shape
    pages = -(-total // TILES)
    first = page % pages * TILES
    shown = rest[first : first + TILES]
    kind = "attention heads" if _is_attention(shown) else "channels"
    which = f"{kind} {first} to {first + len(shown) - 1} of {total}" if total > 1 else f"the only {kind[:-1]}"
    if pages > 1:
        steps.append({"key": "page", "at": first // TILES, "of": pages, "text": which})
    columns = min(len(shown), max(1, math.ceil(math.sqrt(len(shown) * height / width))))
    rows = -(-len(shown) // columns)
    step, scale = _fit(max(columns * width, rows * height), _SIDE)
    values = _numbers(shown[:, ::step, ::step])
    colours, legend, limit = _coloured(values)
    tall, wide = (size * scale for size in values.shape[1:])
    canvas = np.full((rows * (tall + _GAP), columns * (wide + _GAP), 3), 255, np.uint8)
    for number, tile in enumerate(colours.repeat(scale, 1).repeat(scale, 2)):
        y, x = number // columns * (tall + _GAP), number % columns * (wide + _GAP)
        canvas[y : y + tall, x : x + wide] = tile
    marks = [(row * (tall + _GAP) + tall / 2, str(first + row * columns)) for row in range(rows)]
    if tall < 12:
        marks = marks[:: -(-14 // (tall + _GAP))]
    shape = f"{height} by {width}" + _every(step)
    caption = [_sentence(", ".join(filter(None, [which, where]))), f"Each tile is {shape}.", legend]
    return _png(canvas, marks if total > 1 else [], [], limit), " ".join(caption)


def _matrix(rest: Tensor, where: str, axes: int) -> tuple[bytes, str]:
    """Draw (rows, columns), stretched where it would be a thin line."""
    rows, columns = rest.shape
    attention = _is_attention(rest)
    tall = min(_SIDE, max(_SIDE // 4, _SIDE * rows // columns))
    wide = min(_SIDE, max(_SIDE // 4, _SIDE * columns // rows))
    (down, high), (right, broad) = _fit(rows, tall), _fit(columns, wide)
    values = _numbers(rest[::down, ::right])
    colours, legend, limit = _coloured(values)
    canvas = colours.repeat(high, 0).repeat(broad, 1)
    along = [(high / 2, "0"), (canvas.shape[0] - high / 2, str(rows - 1))][: rows if high > 5 else 2]
    across = [(0, "0"), (canvas.shape[1], str(columns - 1))][:columns]
    what = "Attention: each row sums to 1" if attention else f"Rows are axis {axes - 2}, columns axis {axes - 1}"
    shape = f"{rows} by {columns}" + (_every(down) if down == right else _every(down, "row") + _every(right, "column"))
    caption = [_sentence(where), f"{what}; {shape}.", legend]
    return _png(canvas, along, across, limit), " ".join(filter(None, caption))


def _bars(rest: Tensor, where: str, each: str) -> tuple[bytes, str]:
    """Draw (F,) as bars from 0."""
    step = -(-len(rest) // _BARS)
    values = _numbers(rest[::step])
    finite = np.nan_to_num(values, nan=0, posinf=0, neginf=0)
    edges = np.arange(len(values) + 1) * step - step / 2
    if len(values) <= 64:  # bars apart from each other
        edges = np.sort(np.concatenate([np.arange(len(values)) - 0.4, np.arange(len(values)) + 0.4]))
        finite = np.stack([finite, np.zeros_like(finite)], 1).flatten()[:-1]
    figure = Figure(figsize=(5.2, 2.4), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    ax = figure.add_axes((0.12, 0.13, 0.86, 0.83))
    across, up = edges.repeat(2)[1:-1], finite.repeat(2)
    ax.fill_between(across, up.clip(0, None), color=_RED, linewidth=0)
    ax.fill_between(across, up.clip(None, 0), color=_BLUE, linewidth=0)
    ax.axhline(0, color=_INK, linewidth=0.8)
    wrong = np.flatnonzero(~np.isfinite(values))
    ax.plot(wrong * step, np.zeros(len(wrong)), "x", color=_WRONG, markersize=6)
    ax.set_xlim(edges[0], edges[-1])
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    ax.spines["left"].set_color(_INK)
    ax.tick_params(labelsize=8, colors=_INK, length=3)
    ax.locator_params(axis="x", integer=True)
    if not rest.is_floating_point():
        ax.locator_params(axis="y", integer=True)
    bars = f"{len(rest)} values as bars{', ' + each if each else ''}; red is above 0, blue below."
    caption = [_sentence(where), bars, f"One in {step} is drawn." if step > 1 else "", _wrong(len(wrong), "×")]
    return _encoded(figure), " ".join(filter(None, caption))


def _is_attention(maps: Tensor) -> bool:
    """Say whether the first row of each square map is a share that sums to 1."""
    if maps.shape[-1] != maps.shape[-2] or maps.shape[-1] < 2 or not maps.is_floating_point():
        return False
    row = maps[..., 0, :].float()
    return bool((row >= 0).all() and ((row.sum(-1) - 1).abs() < 1e-2).all())


def _fit(size: int, side: int) -> tuple[int, int]:
    """Return which indices to draw (every how manyth) and how many pixels each gets, to fill a side."""
    return (1, round(side / size)) if size <= side else (round(size / side), 1)


def _numbers(tensor: Tensor) -> np.ndarray:
    return plain(tensor)[0].cpu().to(torch.float32).numpy()


def _coloured(values: np.ndarray) -> tuple[np.ndarray, str, tuple[float, float, float] | None]:
    """Return RGB colours, what they mean in words, and (low, high, where colour is full) for the scale."""
    good = np.isfinite(values)
    finite = values[good]
    size = np.abs(finite)
    most = float(size.max(initial=0))
    # a few far outliers would leave all others without colour
    limit = float(np.partition(size, int(0.995 * (len(size) - 1)))[int(0.995 * (len(size) - 1))]) if most else 0.0
    limit = limit if 0 < limit < most / 1.5 else most
    index = np.nan_to_num(values / (limit or 1), nan=0, posinf=0, neginf=0).clip(-1, 1)
    colours = _MAP[np.round(index * 127 + 127).astype(np.intp)]
    colours[~good] = 0
    legend = [_legend(finite, limit, limit < most), _wrong(int((~good).sum()), "Black")]
    ends = (-limit if finite.min(initial=0) < 0 else 0.0, limit if finite.max(initial=0) > 0 else 0.0, limit)
    return colours, " ".join(filter(None, legend)), ends if limit else None


def _legend(finite: np.ndarray, limit: float, beyond: bool) -> str:
    if not limit:
        return "All values shown are 0." if len(finite) else ""
    above, below = finite.max() > 0, finite.min() < 0
    colours = ["red is above"] * bool(above) + ["blue is below"] * bool(below)
    sign = "±" if above and below else "" if above else "-"
    return f"Light is 0, {', '.join(colours)}; full colour at {sign}{short(limit)}{' and beyond' * beyond}."


def _wrong(count: int, sign: str) -> str:
    return f"{sign} marks NaN or infinite: {count} of the values drawn." if count else ""


def _every(step: int, what: str = "row and column") -> str:
    return f", one {what} in {step} drawn" if step > 1 else ""


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}." if words else ""


def _map() -> np.ndarray:
    """Return 255 colours from blue over light to red, which all common kinds of colour blindness can tell apart."""
    anchors = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in (_BLUE, _LIGHT, _RED)])
    return np.stack([np.interp(np.linspace(0, 2, 255), range(3), channel) for channel in anchors.T], 1).astype(np.uint8)


_MAP = _map()


def _png(canvas: np.ndarray, along: list, across: list, ends: tuple[float, float, float] | None) -> bytes:
    """Set labels beside a picture and a scale below it; one pixel of the canvas stays one pixel."""
    height, width = canvas.shape[:2]
    below = _BELOW if across else _BELOW - 14
    full = (max(width, 240) + _LEFT + 8, height + _TOP + below)
    figure = Figure(figsize=(full[0] / _DPI, full[1] / _DPI), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    figure.figimage(canvas, _LEFT, below, origin="upper")

    def text(x: float, y: float, words: str, side: str) -> None:
        figure.text(x / full[0], y / full[1], words, ha=side, va="center", fontsize=8, color=_INK)

    for down, words in along:
        text(_LEFT - 6, below + height - down, words, "right")
    for right, words in across:
        text(_LEFT + right, below - 8, words, "right" if right else "left")
    if ends:
        low, high, limit = ends
        scale = _MAP[np.round(np.linspace(low / limit, high / limit, 120) * 127 + 127).astype(np.intp)]
        figure.figimage(np.broadcast_to(scale, (8, 120, 3)), _LEFT + 40, 10)
        text(_LEFT + 34, 14, short(low), "right")
        text(_LEFT + 166, 14, short(high), "left")
    return _encoded(figure)


def _encoded(figure: Figure) -> bytes:
    file = io.BytesIO()
    # the same bytes each time, and quickly: no version, little compression
    figure.canvas.print_png(file, metadata={"Software": None}, pil_kwargs={"compress_level": 2})
    return file.getvalue()
