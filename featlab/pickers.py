"""The layer picker: a tree of submodules to search and pick from, and what the picked ones return."""

import base64
from html import escape
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from torch import Tensor, nn

from .onlookers import Onlooker, explain
from .panels import Panel, panel
from .structures import describe, map_leaves
from .summaries import short, spread
from .trees import columns, heading, notes, table

_STATIC = Path(__file__).parent / "static"
_INVITES = "Pick a layer: click it, or go there with the arrow keys and press Enter."
_NO_INPUT = "No input was given, so nothing has run: LayerPicker(model, x) shows what a layer returns."


class LayerPicker(anywidget.AnyWidget):
    """Show the submodules of a model as a tree; pick one to see what it returns for an input.

        picker = fl.LayerPicker(model, images)
        picker
        picker.value, picker.feature

    Args:
        model: any `nn.Module`. It is only looked at: modes, buffers, hooks and random numbers stay as they are, in
            train mode too.
        x: a tensor, a tuple of positional or a dict of keyword arguments, of which a copy is kept.

    Attributes:
        value: the dotted name of the picked submodule, or None; "relu_1" is the second call of relu. Setting it moves
            the widget.
        names: all picked names, in model order; `value` is the one that is shown.

    A feature is computed when it is first asked for, and kept. Training, `.to()`, hooks and changes of mode are noticed
    and lead to a new look; after what torch does not count (`.data`, a fused optimizer), call `refresh()`. A notebook
    keeps its widgets, and this one its model: `close()` lets go of it.

    Raises:
        UnknownName: (on setting) the model has no such submodule; nothing changes.

    Claims: H3, X7.
    """

    _esm = "\n".join((_STATIC / name).read_text("utf8") for name in ("tree.js", "picker.js"))
    _css = (_STATIC / "picker.css").read_text("utf8")
    _ipython_display_ = None  # ipywidgets 7 would show the widget alone, without the static faces

    value = traitlets.Unicode(None, allow_none=True).tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    tree = traitlets.Dict().tag(sync=True)
    panel = traitlets.Dict().tag(sync=True)
    heard = traitlets.Int().tag(sync=True)  # how many acts came in, so that the browser knows each was heard

    def __init__(self, model: nn.Module, x: Any = None):
        self._onlooker = Onlooker(model, x)
        self._at = {"image": 0, "page": 0, "part": 0}
        self._more = False
        self._looks = self._onlooker.looks
        super().__init__(tree=columns(self._onlooker), panel={"says": self._invitation()})
        self.on_msg(self._act)

    @property
    def feature(self) -> Any:
        """What the picked submodule returned: a copy, in the structure it has, without a graph.

        Raises:
            LookupError: nothing is picked, or there is no input.
            NeverRan: the forward does not call it.
            Exception: whatever the model raises.
        """
        if self.value is None:
            raise LookupError("Nothing is picked yet: pick a layer in the widget, or set picker.value to a name.")
        return self._features([self.value])[self.value]

    @property
    def features(self) -> dict[str, Any]:
        """name -> feature for each of `names`."""
        return self._features(self.names)

    def refresh(self) -> None:
        """Look at the model anew: its tree, its marks and what it returns."""
        self._onlooker.look()
        self._catch_up()

    def _features(self, names: list[str]) -> dict[str, Any]:
        try:
            found = self._onlooker.features(names)
            return {name: map_leaves(Tensor, Tensor.clone, found[name]) for name in names}
        finally:
            self._catch_up()

    def _catch_up(self) -> None:
        """Show the tree and the picture again if the model was looked at anew."""
        if self._looks != self._onlooker.looks:
            self._looks = self._onlooker.looks
            with self.hold_sync():
                self.tree = columns(self._onlooker)
                self.names = [name for name in self.names if self._is_known(name)]
                self._draw()

    def _is_known(self, name: str) -> bool:
        try:
            return self._onlooker.row(name) >= 0
        except LookupError:
            return False

    @traitlets.validate("value")
    def _known(self, proposal: dict) -> str | None:
        if proposal["value"] is not None:
            self._onlooker.row(proposal["value"])
        return proposal["value"]

    @traitlets.validate("names")
    def _ordered(self, proposal: dict) -> list[str]:
        return sorted(dict.fromkeys(proposal["value"]), key=lambda name: (self._onlooker.row(name), name))

    @traitlets.observe("value")
    def _moved(self, change: dict) -> None:
        self._at.update(page=0, part=0)
        if self.value is None:
            self.names = []
        elif self.value not in self.names:
            self.names = [self.value]
        self._show()

    @traitlets.observe("names")
    def _chosen(self, change: dict) -> None:
        if self.value not in self.names:
            self.value = self.names[-1] if self.names else None

    def _act(self, _, content: dict, buffers: Any) -> None:
        """Do what the browser asks: {"pick": name}, {"toggle": name}, {"step": what, "by": 1 or -1}, {"more": bool}."""
        if not isinstance(content, dict):
            return
        with self.hold_sync():
            try:
                self._do(content)
            except Exception as error:  # in a widget's callback it would be lost in a log
                self.panel = {"name": self.value or "", "says": explain(error, self._onlooker.model)}
            finally:
                self.heard += 1

    def _do(self, content: dict) -> None:
        if "pick" in content:
            self.value = content["pick"]
            self.names = [content["pick"]]
        elif "toggle" in content and content["toggle"] in self.names:
            self.names = [name for name in self.names if name != content["toggle"]]
        elif "toggle" in content:
            self.names = [*self.names, content["toggle"]]
            self.value = content["toggle"]
        elif content.get("step") == "call":
            calls = self._onlooker.labels(self._onlooker.row(self.value))
            self.value = calls[(calls.index(self.value) + content["by"]) % len(calls)]
        elif content.get("step") in self._at:
            self._at[content["step"]] += content["by"]
            self._show()
        elif "more" in content:
            self._more = bool(content["more"])
            self._show()

    def _show(self) -> None:
        self._draw()
        self._catch_up()

    def _draw(self) -> None:
        """Make the panel say and show what is picked; what goes wrong is said there."""
        if self.value is None:
            self.panel = {"says": self._invitation()}
            return
        row = self._onlooker.row(self.value)
        head = {"name": self.value, "kind": self._onlooker.outline.kinds[row]}
        if not self._onlooker.has_input:
            self.panel = head | {"says": _NO_INPUT}
            return
        try:
            value = self._onlooker.features([self.value])[self.value]
            drawn = panel(value, batch=self._onlooker.batch, **self._at)
            told = _told(drawn) | {"more": self._facts(row, value, drawn) if self._more else None}
        except KeyboardInterrupt:
            self.panel = head | {"says": "Interrupted. Pick it again to go on."}
            raise
        except Exception as error:
            # a layer that never ran explains itself; what the model raises is named with its place
            says = str(error) if isinstance(error, LookupError) else explain(error, self._onlooker.model)
            self.panel = head | {"says": says}
        else:
            calls = self._onlooker.labels(row)
            if len(calls) > 1:
                at = calls.index(self.value)
                step = {"key": "call", "at": at, "of": len(calls), "text": f"call {at + 1} of {len(calls)}"}
                told["steps"] = [step, *told["steps"]]
            self.panel = head | told

    def _invitation(self) -> str:
        return _INVITES if self._onlooker.has_input else f"{_INVITES} {_NO_INPUT}"

    def _facts(self, row: int, value: Any, drawn: Panel) -> dict:
        """Return what is shown on request: the spread of the values, and what else is known of the submodule."""
        tree, module = self._onlooker.outline, self._onlooker.outline.modules[row]
        at = self._onlooker.labels(row).index(self.value)
        facts = [("given", self._onlooker.calls[module][at][0])] if module in self._onlooker.calls else []
        facts += [("returned", describe(value))] if not isinstance(value, Tensor) else []
        facts += [("parameters", f"{tree.parameters[row]:,}"), ("marks", tree.marks[row])]
        if others := tree.other_names(module, tree.names[row]):
            facts.append(("the same module as", ", ".join(others[:5])))
        if not module._modules:
            facts.append(("module", repr(module)[:300]))
        counted = spread(drawn.tensor) if drawn.tensor is not None else {}
        if counted:
            facts.insert(0, ("mean and std", f"{short(counted['mean'])} and {short(counted['std'])}"))
        return {"facts": facts, "histogram": counted}

    def __repr__(self) -> str:
        lines = [heading(self._onlooker), repr(table(self._onlooker)), *notes(self._onlooker)]
        if self.value is not None:
            shown = [self.panel.get(key) for key in ("line", "caption", "says")]
            lines += ["", f"picked: {', '.join(self.names)}", f"{self.value}: {' '.join(filter(None, shown))}"]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = table(self._onlooker)._repr_html_()
        parts = [f"<details><summary>{escape(heading(self._onlooker))}</summary>{rows}</details>"]
        parts += [f"<p>{escape(words)}</p>" for words in notes(self._onlooker)]
        if self.value is not None:
            line = self.panel.get("line") or self.panel.get("says", "")
            parts.append(f"<p>picked: {escape(', '.join(self.names))}</p>")
            parts.append(f"<p><b>{escape(self.value)}</b> {escape(line)}</p>")
        if self.panel.get("png"):
            picture = base64.b64encode(self.panel["png"]).decode()
            alt = escape(self.panel["alt"])
            parts.append(f'<img alt="{alt}" src="data:image/png;base64,{picture}">')
            parts.append(f"<p>{escape(self.panel['caption'])}</p>")
        return f'<div class="featlab-shown">{"".join(parts)}</div>'

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict]:
        data, metadata = super()._repr_mimebundle_(**kwargs)
        return data | {"text/plain": repr(self), "text/html": self._repr_html_()}, metadata


def _told(drawn: Panel) -> dict:
    return {key: getattr(drawn, key) for key in ("png", "line", "caption", "alt", "steps")}
