"""What autograd recorded on the way to a tensor: its nodes in order, what each keeps, and a picture of them."""

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

_INK, _LEAF, _KEEPS, _LINE = "#1a1a1a", "#d9ecf7", "#fbe9d0", "#767676"


class Node(NamedTuple):
    """One step that backward() will take.

    Attributes:
        number: counted from the tensor itself, which is 0.
        step: the operation, "MulBackward0", or "leaf" where a gradient is put into `.grad`.
        name: what a leaf is called, or "".
        keeps: shapes of the tensors that it keeps for backward, under the names torch gives them.
        before: the numbers of the steps that come next.
        depth: the longest way to it from the tensor.
    """

    number: int
    step: str
    name: str
    keeps: dict[str, tuple[int, ...]]
    before: tuple[int, ...]
    depth: int

    @property
    def words(self) -> str:
        """The node in words, "Mul keeps other (3,)"."""
        kept = ", ".join(f"{name} {_shape(shape)}" for name, shape in self.keeps.items())
        what = f"leaf {self.name}".rstrip() if self.step == "leaf" else self.step.partition("Backward")[0]
        return f"{what} keeps {kept}" if kept else what


def nodes(tensor: Tensor, **names: Tensor) -> list[Node]:
    """Return every step from a tensor back to its leaves, read from `grad_fn` and its `next_functions`.

    Args:
        names: what leaves are called; others are told by their shape.

    Raises:
        ValueError: nothing was recorded on the way to the tensor.
    """
    if not isinstance(tensor, Tensor) or tensor.grad_fn is None:
        raise ValueError("Nothing was recorded on the way to it: give a tensor with a grad_fn, not a leaf.")
    called = {id(leaf): name for name, leaf in names.items()}
    order, depths, waiting = {tensor.grad_fn: 0}, {tensor.grad_fn: 0}, [tensor.grad_fn]
    edges: dict[object, list] = {}
    while waiting:
        node = waiting.pop(0)
        edges[node] = [after for after, _ in node.next_functions if after is not None]
        for after in edges[node]:
            if after not in order:
                order[after] = len(order)
            if depths.get(after, -1) <= depths[node]:
                depths[after] = depths[node] + 1
                waiting.append(after)
    return [
        Node(number, *_read(node, called), tuple(order[after] for after in edges[node]), depths[node])
        for node, number in order.items()
    ]


def _read(node, called: dict[int, str]) -> tuple[str, str, dict]:
    leaf = getattr(node, "variable", None)
    if leaf is not None:
        return "leaf", called.get(id(leaf), _shape(tuple(leaf.shape))), {}
    return type(node).__name__, "", dict(_kept(node))


def _kept(node) -> Iterator[tuple[str, tuple[int, ...]]]:
    for attribute in dir(node):
        if attribute.startswith("_saved_"):
            try:
                value = getattr(node, attribute)
            except RuntimeError:  # backward() has been here and has thrown it away
                continue
            if isinstance(value, Tensor):
                yield attribute.removeprefix("_saved_"), tuple(value.shape)


def _shape(shape: tuple[int, ...]) -> str:
    return str(shape) if shape else "one number"


def draw(tensor: Tensor, **names: Tensor):
    """Draw the graph behind a tensor, from its last step down to the leaves; what keeps tensors says which.

    Returns:
        A matplotlib figure of at most 8 inches' width.

    Claims: G2, G6.
    """
    import matplotlib.pyplot as plt

    found = nodes(tensor, **names)
    rows: dict[int, list[Node]] = {}
    for node in found:
        rows.setdefault(node.depth, []).append(node)
    widest = max(len(row) for row in rows.values())
    wide = min(8.0, max(3.2, 2.6 * widest))
    figure, ax = plt.subplots(figsize=(wide, 0.9 * len(rows) + 0.1), dpi=90, facecolor="white")
    at = {}
    for depth, row in rows.items():
        for place, node in enumerate(row):
            at[node.number] = ((place + 0.5) / len(row) * wide, -0.9 * depth)
    boxes = {}
    for node in found:
        face = _LEAF if node.step == "leaf" else _KEEPS if node.keeps else "white"
        box = {"boxstyle": "round,pad=0.35", "facecolor": face, "edgecolor": _LINE}
        words = node.words.replace(" keeps ", "\nkeeps ")
        text = ax.text(*at[node.number], words, ha="center", va="center", fontsize=10, color=_INK, bbox=box)
        boxes[node.number] = text.get_bbox_patch()
    for node in found:
        for after in node.before:
            # one that passes a row by goes round what stands there
            bend = f"arc3,rad={0.45 if found[after].depth > node.depth + 1 else 0}"
            ends = {"patchA": boxes[node.number], "patchB": boxes[after], "shrinkA": 1, "shrinkB": 1}
            arrow = {"arrowstyle": "->", "color": _LINE, "connectionstyle": bend, **ends}
            ax.annotate("", at[after], at[node.number], arrowprops=arrow)
    ax.set(xlim=(0, wide), ylim=(-0.9 * (len(rows) - 1) - 0.5, 0.5))
    ax.axis("off")
    ax.set_position((0, 0, 1, 1))
    return figure
