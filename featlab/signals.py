"""How a signal fares by depth: the weights, what they let through, and the gradients that come back."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .activations import capture
from .looks import looking
from .tables import Table

_SEEN = ("weights", "activations", "gradients")
_LEAST, _MOST = 1e-12, 1e12  # what lies beyond is drawn at the edge
_INK = "#1a1a1a"
_LINES = [
    ("#0072b2", "o", "-"),
    ("#d55e00", "s", "--"),
    ("#009e73", "^", "-."),
    ("#a3527e", "D", ":"),
    (_INK, "x", "-"),
]


class Signals(Table):
    """The three instruments, one row for each layer that has a weight of two or more axes, in the order they ran.

    Columns: `layer`, its dotted name; `weights`, the weight's standard deviation; `activations`, the standard deviation
    of what it returned, taken over the batch for each unit, then the root mean square over units; `gradients`, the
    standard deviation of the loss's gradient at the weight. A constant that all samples share is no signal, so it
    does not count.
    """

    def of(self, what: str) -> list[float]:
        """Return one column of numbers, such as `signals.of("activations")`."""
        return [row[what] for row in self.rows]

    @property
    def arrives(self) -> float:
        """The share of the first layer's activations that the last one still has."""
        first, *_, last = self.of("activations")
        return last / first if first else 0.0

    def _cells(self) -> list[list[str]]:
        return [[value if isinstance(value, str) else f"{value:.2g}" for value in row.values()] for row in self.rows]


def measure(model: nn.Module, x: Tensor, labels: Tensor) -> Signals:
    """Run a model and its cross-entropy once, forward and backward, and leave both as found: no `.grad` is written.

    Args:
        x: a batch of two samples or more.
        labels: (N,) class numbers.

    Raises:
        ValueError: fewer than two samples, no layer with a weight of two axes ran, or the loss reaches none of them.

    Claims: W3, W4, W5.
    """
    if len(x) < 2:
        raise ValueError(f"A batch of {len(x)} has no spread: give two samples or more.")
    layers = {
        name: module.weight
        for name, module in model.named_modules()
        if isinstance(getattr(module, "weight", None), nn.Parameter) and module.weight.ndim >= 2
    }
    if not layers:
        raise ValueError(f"No submodule of {type(model).__name__} has a weight of two axes or more.")
    with looking(model), torch.enable_grad(), capture(model, list(layers), detach=False) as seen:
        loss = F.cross_entropy(model(x), labels)
        ran = [name for name in seen if name in layers and layers[name].requires_grad]
        gradients = torch.autograd.grad(loss, [layers[name] for name in ran], allow_unused=True) if ran else []
    if not any(gradient is not None for gradient in gradients):
        raise ValueError(
            "The loss reaches no weight that requires grad: is the model frozen, or was its output detached?"
        )
    return Signals(
        [
            {
                "layer": name,
                "weights": _spread(layers[name]),
                "activations": seen[name].detach().std(0).square().mean().sqrt().item(),
                "gradients": 0.0 if gradient is None else _spread(gradient),
            }
            for name, gradient in zip(ran, gradients, strict=True)
        ]
    )


def _spread(value: Tensor) -> float:
    return value.detach().double().std().item()  # in float32 a constant's is not quite 0


def draw(named: Mapping[str, Signals]):
    """Draw the three instruments side by side, by depth, one line for each network.

    The scale is logarithmic: a step up is ten times more. What is below 1e-12, and zero, stands at the lower edge.

    Returns:
        The matplotlib figure; `plt.show()` displays it.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(9.4, 3.6), dpi=80)
    figure.patch.set_facecolor("white")
    for ax, what in zip(axes, _SEEN, strict=True):
        for number, (name, signals) in enumerate(named.items()):
            _line(ax, signals.of(what), number, name)
        _dress(ax, [value for signals in named.values() for value in signals.of(what)])
        ax.set_title(what, fontsize=12, color=_INK)
        ax.set_xlabel("depth: layer", fontsize=10, color=_INK)
    if len(named) > 1:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="upper center", ncols=5, fontsize=11, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.91 if len(named) > 1 else 1))
    return figure


def multiples(named: Mapping[tuple[str, str], Signals], *, what: str = "activations"):
    """Draw one instrument for many networks as small multiples on one scale.

    Args:
        named: (row, column) -> what was measured there.

    Returns:
        The matplotlib figure; `plt.show()` displays it.
    """
    import matplotlib.pyplot as plt

    rows, columns = (list(dict.fromkeys(key[axis] for key in named)) for axis in (0, 1))
    size = {"figsize": (1.7 * len(columns) + 0.8, 1.7 * len(rows) + 0.5), "dpi": 80}
    figure, axes = plt.subplots(len(rows), len(columns), sharex=True, sharey=True, squeeze=False, **size)
    figure.patch.set_facecolor("white")
    values = [value for signals in named.values() for value in signals.of(what)]
    for (row, column), signals in named.items():
        ax = axes[rows.index(row)][columns.index(column)]
        _line(ax, signals.of(what), rows.index(row), row)
        _dress(ax, values)
    for ax, column in zip(axes[0], columns, strict=True):
        ax.set_title(column, fontsize=11, color=_INK)
    for line, row in zip(axes, rows, strict=True):
        line[0].set_ylabel(row, fontsize=11, color=_INK)
    figure.supxlabel("depth: layer", fontsize=10, color=_INK)
    figure.tight_layout()
    return figure


def _line(ax, values: Sequence[float], number: int, name: str) -> None:
    color, marker, dashes = _LINES[number % len(_LINES)]
    shown = [min(max(value, _LEAST), _MOST) if value == value else _MOST for value in values]
    style = {"color": color, "marker": marker, "linestyle": dashes, "markersize": 3.5, "linewidth": 1.5}
    ax.plot(range(1, len(values) + 1), shown, label=name, **style)


def _dress(ax, values: Sequence[float]) -> None:
    ax.set_yscale("log")
    shown = [min(max(value, _LEAST), _MOST) if value == value else _MOST for value in values]
    ax.set_ylim(min(*shown, 0.01) / 2, max(*shown, 1) * 2)
    ax.grid(axis="y", color="#dddddd", linewidth=0.8)
    ax.tick_params(labelsize=9)
    ax.spines[["top", "right"]].set_visible(False)
