"""The mode inspector: which submodule is in which mode, what learns, what is wrong, and switches for all of it."""

import sys
import weakref
from html import escape
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from torch import nn
from torch.optim import Optimizer

from .faces import as_html, as_text
from .inspections import ACTS, Inspection

_STATIC = Path(__file__).parent / "static"
_INVITES = "Pick a row to see what is known of it, what is wrong with it, and its switches."


class ModeInspector(anywidget.AnyWidget):
    """Show the mode of every submodule, what learns, and what the audit finds; switch whole subtrees.

        inspector = fl.ModeInspector(model, optimizer=optimizer)
        inspector

    It follows the model: after every cell it shows the present state, and marks what changed since the last look.

    Args:
        model: any `nn.Module`; looking changes nothing in it.
        optimizer: the one that trains it, or a list of them.
        x: an input on which the audit may run the model, once, and again by `refresh(run=True)`.
        original: the model that `model` is an extractor of. Then the original is shown, with what an `eval()` of the
            extractor would switch in it, before it is called.

    Attributes:
        value: the dotted name of the picked submodule; "" is the model itself, None is nothing.
        findings: the audit.

    Raises:
        TypeError: model is no nn.Module, or optimizer no optimizer.
        ValueError: the model raises on x.

    Claims: M4, M5, M6.
    """

    _esm = "\n".join((_STATIC / name).read_text("utf8") for name in ("tree.js", "inspector.js"))
    _css = "\n".join((_STATIC / name).read_text("utf8") for name in ("picker.css", "inspector.css"))
    _ipython_display_ = None  # ipywidgets 7 would show the widget alone, without the static faces

    value = traitlets.Unicode(None, allow_none=True).tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    tree = traitlets.Dict().tag(sync=True)
    panel = traitlets.Dict().tag(sync=True)
    heard = traitlets.Int().tag(sync=True)  # how many acts came in, so that the browser knows each was heard
    _unfollow = None  # where what was given is refused, nothing is followed

    def __init__(
        self,
        model: nn.Module,
        *,
        optimizer: Optimizer | list[Optimizer] | None = None,
        x: Any = None,
        original: nn.Module | None = None,
    ):
        from .audits import audit

        audit(model, optimizer=optimizer)  # what is no model or optimizer is refused here
        self._inspection, self._input, self._trouble = Inspection(model, optimizer=optimizer, original=original), x, ""
        if x is not None:
            self._inspection.run(x)
        super().__init__()
        self._show()
        self.on_msg(self._act)
        self._unfollow = _follow(self)

    @property
    def findings(self):
        """The audit, as of the last look."""
        return self._inspection.findings

    def refresh(self, *, run: bool = False) -> None:
        """Look at the model anew; with run, also run it on x again."""
        if run and self._input is None:
            raise ValueError("There is no input to run it on: ModeInspector(model, x=batch) has one.")
        if run:
            self._inspection.run(self._input)
        self._inspection.look()
        self._show()

    def close(self) -> None:
        """Stop following the model, and close the widget."""
        if self._unfollow is not None:
            self._unfollow()
        super().close()

    def _show(self) -> None:
        with self.hold_sync():
            self.tree = self._inspection.columns() | {"warning": self._inspection.warning}
            if self.value is not None and self.value not in self._inspection.names:
                self.value = None
            self._draw()

    @traitlets.validate("value")
    def _known(self, proposal: dict) -> str | None:
        name = proposal["value"]
        if name is not None and name not in self._inspection.names:
            raise LookupError(f"There is no submodule '{name}'; fl.modes(model) lists them all.")
        return name

    @traitlets.observe("value")
    def _moved(self, change: dict) -> None:
        self.names = [] if self.value is None else [self.value]
        self._draw()

    def _draw(self) -> None:
        told = {"says": _INVITES} if self.value is None else self._inspection.facts(self.value)
        self.panel = told | {"trouble": self._trouble, "changed": len(self._inspection.before)}

    def _act(self, _, content: dict, buffers: Any) -> None:
        """Do what the browser asks: {"pick": name}, {"act": "eval", "name": name} or {"refresh": true}."""
        if not isinstance(content, dict):
            return
        with self.hold_sync():
            self._trouble = ""
            try:
                if "pick" in content:
                    self.value = content["pick"]
                elif content.get("act") in ACTS:
                    self._inspection.act(content["name"], content["act"])
                self.refresh()
            except Exception as error:  # in a widget's callback it would be lost in a log
                self._trouble = f"{type(error).__name__}: {error}"
                self._draw()
            finally:
                self.heard += 1

    def _lines(self) -> list[str]:
        return [self._inspection.title, *self._inspection.notes()]

    def __repr__(self) -> str:
        title, *notes = self._lines()
        return "\n".join([title, repr(self._inspection.table()), *map(as_text, notes)])

    def _repr_html_(self) -> str:
        title, *notes = self._lines()
        rows = self._inspection.table()._repr_html_()
        said = "".join(f"<div>{as_html(note)}</div>" for note in notes)
        summary = f"<details><summary>{escape(title)}</summary>{rows}</details>"
        return f'<div class="featlab-shown" style="white-space:pre-wrap">{summary}{said}</div>'

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict]:
        data, metadata = super()._repr_mimebundle_(**kwargs)
        return data | {"text/plain": repr(self), "text/html": self._repr_html_()}, metadata


def _follow(inspector: ModeInspector):
    """Look again after every cell of a notebook; return what ends it. Without IPython there are no cells."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return lambda: None
    known = weakref.ref(inspector)  # a forgotten inspector is not kept alive by its notebook

    def look(result: Any = None) -> None:
        seen = known()
        if seen is None:
            shell.events.unregister("post_run_cell", look)
            return
        try:
            seen.refresh()
        except Exception as error:
            seen._trouble = f"{type(error).__name__}: {error}"
            seen._draw()

    shell.events.register("post_run_cell", look)
    registered = [True]

    def end() -> None:
        if registered:
            registered.clear()
            shell.events.unregister("post_run_cell", look)

    return end
