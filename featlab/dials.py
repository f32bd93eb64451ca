"""Dials: choose values, and see at once what a function makes of them."""

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from html import escape
from io import BytesIO
from typing import Any

import ipywidgets

_VIEW = "application/vnd.jupyter.widget-view+json"


class Dials(ipywidgets.VBox):
    """Show one selection box for each choice, and below them the picture and the sentence of what is chosen.

        Dials(show, depth=[5, 20], activation=["relu", "tanh"])

    Args:
        show: called with one value for each choice, `show(depth=5, activation="relu")`; returns a matplotlib figure and
            a sentence that says the same in words.
        still: the figure and the sentence that stand in place of the dials where no kernel runs.
        choices: name -> the values to choose from; the first is chosen to begin with.

    Attributes:
        chosen: name -> the value chosen now; setting a name's dial in code, `dials["depth"].value = 20`, turns it.
        says: the sentence that stands below the picture.

    Raises:
        ValueError: a choice has no values.
    """

    _ipython_display_ = None  # ipywidgets 7 would show the widget alone, without the static faces

    def __init__(self, show: Callable[..., tuple], still: tuple[Any, str], /, **choices: Sequence):
        empty = [name for name, values in choices.items() if not list(values)]
        if empty or not choices:
            raise ValueError(f"There is nothing to choose for {', '.join(empty) or 'these dials'}: give values.")
        self._make, self.says = show, ""
        figure, self._still_words = still
        self._still = _png(figure)
        self._dials = {
            name: ipywidgets.Dropdown(description=name, options=_labelled(values)) for name, values in choices.items()
        }
        self._picture = ipywidgets.HTML()
        row = ipywidgets.HBox(list(self._dials.values()), layout={"flex_flow": "row wrap"})
        super().__init__([row, self._picture])
        for dial in self._dials.values():
            dial.observe(self._turn, names="value")
        self._turn()

    def __getitem__(self, name: str) -> ipywidgets.Dropdown:
        return self._dials[name]

    @property
    def chosen(self) -> Mapping[str, Any]:
        return {name: dial.value for name, dial in self._dials.items()}

    def _turn(self, _: Any = None) -> None:
        try:
            figure, self.says = self._make(**self.chosen)
            shown = f'<img alt="{escape(self.says)}" src="data:image/png;base64,{b64encode(_png(figure)).decode()}">'
        except Exception as error:  # in a widget's callback it would be lost in a log
            shown, self.says = "", f"{type(error).__name__}: {error}"
        self._picture.value = f'{shown}<p role="status">{escape(self.says)}</p>'

    def __repr__(self) -> str:
        dials = ", ".join(f"{name} ({', '.join(label for label, _ in d.options)})" for name, d in self._dials.items())
        return f"Dials, live in a notebook: {dials}\n{self._still_words}"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict:
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        return {_VIEW: view, "text/plain": repr(self), "image/png": b64encode(self._still).decode()}


def _labelled(values: Sequence) -> list[tuple[str, Any]]:
    return [(f"{value:.3g}" if isinstance(value, float) else str(value), value) for value in values]


def _png(figure) -> bytes:
    """Return the figure as a picture, and close it."""
    import matplotlib.pyplot as plt

    written = BytesIO()
    figure.savefig(written, format="png")
    plt.close(figure)
    return written.getvalue()
