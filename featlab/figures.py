"""Matplotlib pictures, computed from the values and addresses that they show."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from featlab.memory import storages

_PAGE = 8.0  # inches: what a notebook on a small screen shows without shrinking it
_CELL = 0.24  # inches
_LINE = 8  # cells: a line of a storage is a whole number of these, so that rows of a square stand in order
_LARGEST = 256  # cells, beyond which no number could be read
_INK, _MARK, _WRONG = "#1a1a1a", "#d55e00", "#b34f00"  # words in the colour of the mark would be too pale on white
_BARS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9")


def images(named: Mapping[str, Tensor | np.ndarray], *, columns: int = 6):
    """Draw grey images (H, W) side by side, each under its name, with 0 as white and 1 as black.

    Returns:
        The matplotlib figure; `plt.show()` displays it.
    """
    import matplotlib.pyplot as plt

    width, height = min(len(named), columns), -(-len(named) // columns)
    size = (1.6 * width, 1.9 * height)
    figure, axes = plt.subplots(height, width, figsize=size, dpi=80, squeeze=False, layout="constrained")
    figure.patch.set_facecolor("white")
    for ax in axes.flat[len(named) :]:
        ax.axis("off")
    for ax, (name, image) in zip(axes.flat, named.items(), strict=False):
        ax.imshow(_values(image), cmap="gray_r", vmin=0, vmax=1)
        ax.set_title(name, fontsize=10, color=_INK)
        ax.set(xticks=[], yticks=[])
    return figure


def storage_map(views: Mapping[str, Tensor | np.ndarray], *, mark: tuple[int, ...] | None = None):
    """Draw each storage as one line of numbered cells, and each tensor as a grid of the cells that it reads.

    Above: the storage, cut into lines to fit the page, with a bar for each tensor that reads only some of its cells.
    Below: the tensors. The number of an element is the storage cell it reads, computed from address and strides; its
    grey is the value found there, darker for larger.

    Args:
        views: name -> tensor or array of at most two axes, in a storage of at most 256 elements.
        mark: an index such as (1, 2). This element is outlined in every grid that has it, and its cell in the storage.

    Returns:
        The matplotlib figure; `plt.show()` displays it.

    Raises:
        ValueError: one of them cannot be drawn so; the message says why.
    """
    import matplotlib.pyplot as plt

    readers = [_Reader(name, views[name], row, mark) for name, row in zip(views, storages(views), strict=True)]
    figure, ax = plt.subplots(dpi=100)
    figure.patch.set_facecolor("white")
    left = max((0.36 * len(reader.name) for reader in readers if reader.skips), default=0) + 0.3
    page = _PAGE / _CELL - left - 0.3  # cells beside each other
    bottom, right = 0.0, 0.0
    for letter in dict.fromkeys(reader.letter for reader in readers):
        here = [reader for reader in readers if reader.letter == letter]
        bottom, width = _draw_storage(ax, letter, here, bottom, page)
        right = max(right, width)
        bottom, width = _draw_grids(ax, here, bottom + 1, page)
        right = max(right, width)
    ax.set(xlim=(-left, right + 0.3), ylim=(bottom - 1.4, -1.4))
    ax.set_position((0, 0, 1, 1))
    ax.axis("off")
    figure.set_size_inches((left + right + 0.3) * _CELL, bottom * _CELL)
    return figure


class _Reader:
    """Which cells of its storage a tensor reads: `cells` and `values` have its shape as two axes, `marked` is in it."""

    def __init__(self, name: str, view: Tensor | np.ndarray, row: dict, mark: tuple[int, ...] | None):
        self.name, self.letter = name, row["storage"]
        if row["data_ptr"] is None or self.letter is None:
            raise ValueError(f"'{name}' has no memory to draw: {row['note']}.")
        if len(row["shape"]) > 2:
            raise ValueError(f"'{name}' has {len(row['shape'])} axes; at most 2 can be drawn. Draw one slice of it.")
        self.itemsize = view.itemsize if isinstance(view, np.ndarray) else view.element_size()
        _, first, last = row["block"]
        self.total = (last - first) // self.itemsize
        if self.total > _LARGEST:
            raise ValueError(f"'{name}' is in a storage of {self.total} cells; {_LARGEST} can be drawn. Clone a part.")
        start, rest = divmod(row["data_ptr"] - first, self.itemsize)
        if rest or "strides in bytes" in (row["note"] or ""):
            raise ValueError(f"'{name}' starts or steps between two cells of its storage, so it reads no whole cells.")
        steps = np.array(row["strides"], dtype=int).reshape(-1, *[1] * len(row["shape"]))
        self.cells = np.atleast_2d(start + (np.indices(row["shape"]) * steps).sum(0))
        self.values = np.atleast_2d(_values(view))
        self.skips = len(set(self.cells.flat)) < self.total
        at = (0, *mark)[-2:] if mark and len(mark) == len(row["shape"]) else None
        self.marked = at if at and at[0] < self.cells.shape[0] and at[1] < self.cells.shape[1] else None

    def shades(self) -> np.ndarray:
        """Scale the values to 0 (light) .. 1 (dark) over what this tensor reads."""
        low, high = self.values.min(initial=0), self.values.max(initial=1)
        return (self.values - low) / (high - low)


def _values(value: Tensor | np.ndarray) -> np.ndarray:
    """Return a float copy; complex values by their size."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().resolve_conj().resolve_neg()
        value = (value.abs() if value.is_complex() else value).to(torch.float64).numpy()
    value = np.abs(value) if np.iscomplexobj(value) else value
    return np.nan_to_num(np.array(value, dtype=float))


def _draw_storage(ax, letter: str, readers: list[_Reader], y: float, page: float) -> tuple[float, float]:
    """Draw the cells of one storage from `y` downwards, `page` of them side by side; return its bottom and right."""
    total = readers[0].total
    if any(reader.itemsize != readers[0].itemsize for reader in readers):
        raise ValueError(f"Storage {letter} is cut into cells of different size by its tensors. Draw one dtype only.")
    shade = {c: s for r in readers for c, s in zip(r.cells.flat, r.shades().flat, strict=True)}
    marks: dict[int, list[str]] = {}
    for reader in readers:
        if reader.marked:
            marks.setdefault(reader.cells[reader.marked], []).append(reader.name)
    _text(ax, 0, y - 0.7, f"storage {letter}: {total} cells in one line of memory", size=10)
    width = max(int(page) // _LINE, 1) * _LINE
    for first in range(0, total, width):
        line = range(first, min(first + width, total))
        for cell in line:
            _cell(ax, cell - first, y, cell, shade.get(cell), marked=cell in marks)
        y += 1.2
        if marked := set(marks) & set(line):
            for cell in marked:
                _text(ax, cell - first + 0.5, y + 0.25, ", ".join(marks[cell]), size=8, align="center")
            y += 0.65
        for number, reader in enumerate(reader for reader in readers if reader.skips):
            _text(ax, -0.3, y + 0.25, reader.name, size=8, align="right")
            for cell in set(reader.cells.flat) & set(line):
                ax.add_patch(_box(cell - first, y, 1, 0.42, facecolor=_BARS[number % len(_BARS)], edgecolor="none"))
            y += 0.65
        y += 0.3
    return y, min(total, width)


def _draw_grids(ax, readers: list[_Reader], y: float, page: float) -> tuple[float, float]:
    """Draw one grid per tensor, left to right; return the bottom and the right of the drawing."""
    x, lowest, right = 0.0, y, 0.0
    for reader in readers:
        height, width = reader.cells.shape
        width = max(width, 0.45 * len(reader.name))
        if x and x + width > page:
            x, y = 0.0, lowest + 1.6
        _text(ax, x, y - 0.5, reader.name, size=10)
        for at, cell in np.ndenumerate(reader.cells):
            _cell(ax, x + at[1], y + at[0], cell, reader.shades()[at], marked=at == reader.marked)
        x, lowest, right = x + width + 1.5, max(lowest, y + height), max(right, x + width)
    return lowest + 1.8, right


def _cell(ax, x: float, y: float, number: int, shade: float | None, *, marked: bool) -> None:
    """Draw one cell; None as shade strikes it out, as no tensor reads it."""
    face = "white" if shade is None else str(1 - 0.75 * shade)
    ink = "#767676" if shade is None else "white" if shade > 0.73 else _INK
    edge = {"edgecolor": _MARK, "linewidth": 2.6, "zorder": 3} if marked else {"edgecolor": "#8a8a8a", "linewidth": 0.6}
    ax.add_patch(_box(x, y, 1, 1, facecolor=face, **edge))
    if shade is None:
        ax.plot([x, x + 1], [y + 1, y], color="#b0b0b0", linewidth=0.6)
    ax.text(x + 0.5, y + 0.53, str(number), ha="center", va="center", fontsize=8, color=ink, zorder=4)


def _box(x: float, y: float, width: float, height: float, **style):
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), width, height, **style)


def _text(ax, x: float, y: float, words: str, *, size: float, align: str = "left") -> None:
    ax.text(x, y, words, fontsize=size, color=_INK, ha=align, va="center")


def readings(images: Tensor, labels: Tensor, **answers: Tensor):
    """Draw one digit of each class, and under it how each of the `answers` read it.

    The figure beside each row counts over all images, not over the ones that are drawn.

    Args:
        images: (N, 1, H, W) with 0 as white and 1 as black.
        labels: (N,)
        answers: name of a row, such as before=..., -> (N,) the label given to each image.

    Returns:
        The matplotlib figure; `plt.show()` displays it.
    """
    import matplotlib.pyplot as plt

    shown = [int((labels == label).nonzero()[0]) for label in labels.unique()]
    figure, axes = plt.subplots(
        len(answers), len(shown), figsize=(0.9 * len(shown) + 1.5, 1.5 * len(answers)), dpi=80, squeeze=False
    )
    figure.patch.set_facecolor("white")
    for row, (name, answer) in zip(axes, answers.items(), strict=True):
        right = (answer == labels).float().mean().item()
        words = f"{name}\n{right:.0%} right"
        row[0].text(-0.35, 0.5, words, transform=row[0].transAxes, ha="right", va="center", size=12, color=_INK)
        for ax, i in zip(row, shown, strict=True):
            wrong = bool(answer[i] != labels[i])
            ax.imshow(_values(images[i, 0]), cmap="gray_r", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
            ax.set_xlabel(f"says {answer[i]} {'✗' if wrong else '✓'}", size=11, color=_WRONG if wrong else _INK)
            ax.spines[:].set(color=_MARK if wrong else "#b0b0b0", linewidth=2.5 if wrong else 0.6)
    figure.tight_layout()
    return figure


def feature_maps(named: Mapping[str, Tensor], *, channel: int = 0):
    """Draw one channel of each activation, and beneath it how often each value occurs in all its channels.

    Negative is orange, zero white, positive blue, on one scale for all.

    Args:
        named: title -> one image's activation (C, H, W).

    Returns:
        The matplotlib figure; `plt.show()` displays it.
    """
    import matplotlib.pyplot as plt

    values = {name: _values(value) for name, value in named.items()}
    span = max(abs(value).max() for value in values.values()) or 1
    shape = {"figsize": (3.1 * len(values), 3.9), "height_ratios": (3, 1.2)}
    figure, axes = plt.subplots(2, len(values), dpi=80, squeeze=False, sharey="row", **shape)
    figure.patch.set_facecolor("white")
    for (above, below), (name, value) in zip(axes.T, values.items(), strict=True):
        above.imshow(value[channel], cmap="PuOr", vmin=-0.6 * span, vmax=0.6 * span)
        above.set_title(name, fontsize=10, color=_INK)
        above.set(xticks=[], yticks=[])
        below.hist(value.ravel(), bins=np.linspace(-span, span, 61), color=_BARS[0])
        below.axvline(0, color=_INK, linewidth=0.8)
        below.set(xlabel=f"smallest {value.min():.2f}", yticks=[])
    figure.tight_layout()
    return figure


def neighbours(image: Tensor, label: int, rows: Mapping[str, tuple[Tensor, Tensor]]):
    """Draw an image, and after it in each row the images that were found near to it, the nearest first.

    Args:
        image: (1, H, W) with 0 as white and 1 as black.
        label: what it shows.
        rows: title -> images (K, 1, H, W) and labels (K,) of those found; one with another label is framed.

    Returns:
        The matplotlib figure; `plt.show()` displays it.
    """
    import matplotlib.pyplot as plt

    width = 1 + max(len(labels) for _, labels in rows.values())
    figure, axes = plt.subplots(len(rows), width, figsize=(0.85 * width + 1.6, 1.25 * len(rows)), dpi=80, squeeze=False)
    figure.patch.set_facecolor("white")
    for row, (title, (images, labels)) in zip(axes, rows.items(), strict=True):
        alike = int((labels == label).sum())
        words = f"{title}\n{alike} of {len(labels)}"
        row[0].text(-0.35, 0.5, words, transform=row[0].transAxes, ha="right", va="center", size=12, color=_INK)
        shown = [(image, label), *zip(images, labels.tolist(), strict=True)]
        for ax, (picture, its) in zip(row, shown, strict=False):
            other = its != label
            ax.imshow(_values(picture[0]), cmap="gray_r", vmin=0, vmax=1)
            ax.set_xlabel(f"{its} {'✗' if other else '✓'}", size=11, color=_WRONG if other else _INK)
            ax.spines[:].set(color=_MARK if other else "#b0b0b0", linewidth=2.5 if other else 0.6)
        row[0].set_xlabel(f"an {label}" if label == 8 else f"a {label}", size=11, color=_INK)
        row[0].spines[:].set(color=_INK, linewidth=1.5)
        for ax in row:
            ax.set(xticks=[], yticks=[])
    figure.tight_layout()
    return figure
