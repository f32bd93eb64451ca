"""The live face of a prediction: buttons or a number field, by mouse or by keyboard."""

from pathlib import Path

import anywidget
import traitlets

_STATIC = Path(__file__).parent / "static"
_VIEW = "application/vnd.jupyter.widget-view+json"


class Question(anywidget.AnyWidget):
    """Show a prediction as buttons, and lock what is clicked or chosen by key.

    Only shows and asks: what may be locked is decided by the prediction, in Python.
    """

    _esm = _STATIC / "question.js"
    _css = _STATIC / "question.css"

    question = traitlets.Unicode().tag(sync=True)
    options = traitlets.List(traitlets.Unicode()).tag(sync=True)
    numeric = traitlets.Bool().tag(sync=True)
    unit = traitlets.Unicode().tag(sync=True)
    state = traitlets.Unicode("open").tag(sync=True)
    chosen = traitlets.Unicode().tag(sync=True)
    status = traitlets.Unicode().tag(sync=True)
    heard = traitlets.Int().tag(sync=True)  # how many answers came in, so that the browser knows each was heard

    def __init__(self, prediction):
        self._prediction = prediction
        options = [] if prediction.options is None else list(prediction.options.values())
        super().__init__(
            question=prediction.question, options=options, numeric=prediction.options is None, unit=prediction.unit
        )
        self.refresh()
        prediction.on_change = self.refresh
        self.on_msg(self._act)

    def __repr__(self) -> str:
        return repr(self._prediction)

    def refresh(self) -> None:
        """Show the prediction as it now is."""
        asked = self._prediction
        with self.hold_sync():
            self.state, self.chosen = asked.state, asked.chosen
            self.status = " ".join([asked.note] * bool(asked.note) + [asked.status()])

    def view(self) -> tuple[dict, dict]:
        """Return the widget view's entry of a MIME bundle, and its metadata."""
        data, metadata = self._repr_mimebundle_()
        return {_VIEW: data[_VIEW]}, metadata

    def _act(self, _, content: dict, buffers) -> None:
        """Lock what the browser sent: {"lock": letter or number}."""
        if isinstance(content, dict) and "lock" in content:
            self._prediction.lock(content["lock"])
            self.heard += 1
