"""Dials: choose values, and see at once what a function makes of them."""

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import anywidget
import traitlets

_STATIC = Path(__file__).parent / "static"


class Dials(anywidget.AnyWidget):
    """Show a dial for each choice, and below them the picture and the sentence of what is chosen.

        Dials(show, still, depth=[5, 20], activation=["relu", "tanh"])

    Args:
        show: called with one value for each choice, `show(depth=5, activation="relu")`; returns a matplotlib figure and
            a sentence that says the same in words.
        still: the figure and the sentence that stand in place of the dials where no kernel runs.
        choices: name -> the values to choose from, numbers or words; the first is chosen to begin with.

    Attributes:
        chosen: name -> the value chosen now.
        says: the sentence that stands below the picture.

    Raises:
        ValueError: a choice has no values.
    """

    _esm, _css = ((_STATIC / name).read_text("utf8") for name in ("dials.js", "dials.css"))
    _ipython_display_ = None  # ipywidgets 7 would show the widget alone, without the static faces

    choices = traitlets.List().tag(sync=True)
    at = traitlets.List(traitlets.Int()).tag(sync=True)
    picture = traitlets.Bytes().tag(sync=True)
    says = traitlets.Unicode().tag(sync=True)
    heard = traitlets.Int().tag(sync=True)  # how many turns came in, so that the browser knows each was heard

    def __init__(self, show: Callable[..., tuple], still: tuple[Any, str], /, **choices: Sequence):
        self._values = {name: list(values) for name, values in choices.items()}
        empty = [name for name, values in self._values.items() if not values]
        if empty or not choices:
            raise ValueError(f"There is nothing to choose for {', '.join(empty) or 'these dials'}: give values.")
        self._make, (figure, self._still_words) = show, still
        self._still = _png(figure)
        super().__init__(choices=[_told(name, values) for name, values in self._values.items()], at=[0] * len(choices))
        self._draw()
        self.on_msg(self._act)

    @property
    def chosen(self) -> Mapping[str, Any]:
        return {name: values[at] for (name, values), at in zip(self._values.items(), self.at, strict=True)}

    def turn(self, **values: Any) -> None:
        """Choose values, as a hand on the dials would.

        Raises:
            ValueError: there is no such dial, or it has no such value; nothing changes.
        """
        at = dict(zip(self._values, self.at, strict=True))
        for name, value in values.items():
            if value not in self._values.get(name, []):
                has = {name: self._values[name]} if name in self._values else self._values
                raise ValueError(f"There is no {name} {value!r}; the dials have {has}.")
            at[name] = self._values[name].index(value)
        self.at = list(at.values())
        self._draw()

    def _act(self, _: Any, content: dict, buffers: Any) -> None:
        """Turn to what the browser sent: {"turn": [a number for each dial]}."""
        sent = content.get("turn") if isinstance(content, dict) else None
        with self.hold_sync():
            if isinstance(sent, list) and len(sent) == len(self._values):
                known = zip(sent, self._values.values(), strict=True)
                if all(isinstance(at, int) and 0 <= at < len(values) for at, values in known):
                    self.at = sent
                    self._draw()
            self.heard += 1

    def _draw(self) -> None:
        try:
            figure, says = self._make(**self.chosen)
            picture = _png(figure)
        except Exception as error:  # in a widget's callback it would be lost in a log
            picture, says = b"", f"{type(error).__name__}: {error}"
        with self.hold_sync():
            self.picture, self.says = picture, says

    def __repr__(self) -> str:
        dials = ", ".join(f"{told['name']} ({', '.join(told['labels'])})" for told in self.choices)
        return f"Dials, live in a notebook: {dials}\n{self._still_words}"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict]:
        data, metadata = super()._repr_mimebundle_(**kwargs)
        return data | {"text/plain": repr(self), "image/png": b64encode(self._still).decode()}, metadata


def _told(name: str, values: list) -> dict:
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    labels = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in values]
    return {"name": name, "labels": labels, "numeric": numeric}


def _png(figure) -> bytes:
    """Return the figure as a picture, and close it."""
    import matplotlib.pyplot as plt

    written = BytesIO()
    figure.savefig(written, format="png")
    plt.close(figure)
    return written.getvalue()
