"""What works here: one OK or FAIL line per package, the device, and whether widgets answer. Never raises.

`python -m featlab.checkups` prints the same in a terminal.
"""

import random
from collections.abc import Callable
from html import escape
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from featlab.tables import Table

_STATIC = Path(__file__).parent / "static"


class Line(NamedTuple):
    what: str  # a package as pip spells it, or "device"
    works: bool
    found: str  # the version, or the device's name; "" when there is none
    remedy: str = ""  # what went wrong and what to do


# one tiny act per package that fails when the package is there but cannot work --------------------------------------


def _torch() -> None:
    import torch

    if (torch.eye(2) @ torch.ones(2, 2)).sum() != 4:
        raise ArithmeticError("a 2 by 2 product came out wrong")


def _torchvision() -> None:
    import torch
    import torchvision

    # a CPU-only torch beside a torchvision built for CUDA has no such operator
    torchvision.ops.nms(torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 1]]), torch.tensor([0.9, 0.8]), 0.5)


def _numpy() -> None:
    import numpy
    import torch

    torch.from_numpy(numpy.arange(3)).numpy()


def _matplotlib() -> None:
    from matplotlib.figure import Figure

    Figure(figsize=(1, 1)).savefig(BytesIO())


def _sklearn() -> None:
    from sklearn.datasets import load_digits

    load_digits(n_class=2)


def _safetensors() -> None:
    import torch
    from safetensors.torch import load, save

    load(save({"t": torch.ones(1)}))


def _ipywidgets() -> None:
    import ipywidgets

    ipywidgets.Layout.class_trait_names()  # the class only: a page complains of a widget that comes and goes


def _anywidget() -> None:
    _probe_class()


def _ipykernel() -> None:
    import ipykernel.connect  # noqa: F401


def _jupyterlab() -> None:
    from jupyter_core.paths import jupyter_path

    folders = [Path(folder) for folder in jupyter_path("labextensions")]
    for extension in ("@jupyter-widgets/jupyterlab-manager", "anywidget"):
        if not any((folder / extension / "package.json").is_file() for folder in folders):
            raise FileNotFoundError(f"JupyterLab does not find its extension {extension}")


_AGAIN = "Install it again: pip install --force-reinstall {}"
_PAIR = "Take torch and torchvision from one and the same index: pip install --force-reinstall torch torchvision"
# package as pip spells it -> its trial, and what to do when that fails
_TRIALS: dict[str, tuple[Callable[[], None], str]] = {
    "torch": (_torch, _PAIR),
    "torchvision": (_torchvision, _PAIR),
    "numpy": (_numpy, _AGAIN),
    "matplotlib": (_matplotlib, _AGAIN),
    "scikit-learn": (_sklearn, _AGAIN),
    "safetensors": (_safetensors, _AGAIN),
    "ipywidgets": (_ipywidgets, _AGAIN),
    "anywidget": (_anywidget, _AGAIN),
    "ipykernel": (_ipykernel, _AGAIN),
    "jupyterlab": (_jupyterlab, _AGAIN.format("jupyterlab_widgets anywidget") + ", then start JupyterLab again"),
}
# not ours to ask for: Colab and VS Code bring their own front end
_OPTIONAL = {"ipykernel", "jupyterlab"}


def _reason(error: Exception) -> str:
    """Return the error in one line, as long as a line may be."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:160].rstrip(". ") + "."


def _package(name: str) -> Line:
    trial, remedy = _TRIALS[name]
    try:
        found = version(name)
    except PackageNotFoundError:
        found = ""
    drawn = random.getstate()
    try:
        trial()
    except Exception as error:
        return Line(name, False, found, f"{_reason(error)} {remedy.format(name)}")
    finally:
        random.setstate(drawn)  # a first import may draw: scikit-learn's does where rich is there
    return Line(name, True, found)


def _device(asked: object) -> Line:
    try:
        import torch

        from featlab import samples

        device = samples.device(str(asked))
        torch.ones(2, device=device).sum().item()
        if device.type == "cuda":
            return Line("device", True, f"{device}, {torch.cuda.get_device_name(device)}")
        spare = ", and a CUDA GPU is here too" if torch.cuda.is_available() else ""
        return Line("device", True, f"{device}{spare}")
    except Exception as error:
        return Line("device", False, str(asked), f'{_reason(error)} device = "cpu" always works.')


# widgets ------------------------------------------------------------------------------------------------------------

_NO_ANSWER = (
    "JupyterLab: reload the page, then run this cell again. "
    "VS Code: install the Jupyter extension and allow widget scripts when it asks. "
    "Colab: run the first code cell, then Runtime > Restart session. "
    "Until then type predictions instead of clicking them; everything else works without widgets."
)
_NO_KERNEL = "widgets: nothing answers here. On GitHub or in a saved page that is normal: no Python runs behind it."


def _probe_class() -> type:
    import anywidget
    import traitlets

    class Probe(anywidget.AnyWidget):
        _esm = _STATIC / "checkup.js"
        remedy = traitlets.Unicode(_NO_ANSWER).tag(sync=True)

        def __repr__(self) -> str:
            return f"{_NO_KERNEL}\nIn a live notebook: {_NO_ANSWER}"

    return Probe


def probe():
    """Return a widget that asks Python a question from the page and shows whether the answer came back."""
    widget = _probe_class()()
    widget.on_msg(lambda _, message, __: widget.send({"answer": message["question"] + 1}))
    return widget


# the whole ----------------------------------------------------------------------------------------------------------


class Checkup:
    """Show what works here: folded to a sentence when all is well, open with what to do when not.

    `checkup.lines` gives every `Line`, `checkup.works` (or its truth value) says whether all of them do. In a live
    notebook a widget below asks Python a question; elsewhere a sentence stands in its place.
    """

    def __init__(self, lines: list[Line]):
        self.lines = lines
        self.works = all(line.works for line in lines)

    def __bool__(self) -> bool:
        return self.works

    @property
    def summary(self) -> str:
        failed = [line.what for line in self.lines if not line.works]
        if failed:
            return f"FAIL: {', '.join(failed)}. The table says what to do."
        device = next(line.found for line in self.lines if line.what == "device")
        return f"OK: all {len(self.lines) - 1} packages work, on {device}."

    def _table(self) -> Table:
        columns = ["", "what", "found"] if self.works else ["", "what", "found", "what to do"]
        rows = [("OK" if line.works else "FAIL", line.what, line.found, line.remedy) for line in self.lines]
        return Table([dict(zip(columns, row, strict=False)) for row in rows], columns=columns)

    def __repr__(self) -> str:
        return f"{self.summary}\n{self._table()}"

    def _repr_html_(self) -> str:
        opened = "" if self.works else " open"
        return f"<details{opened}><summary>{escape(self.summary)}</summary>{self._table()._repr_html_()}</details>"

    def _ipython_display_(self) -> None:
        from IPython.display import display

        # two outputs, so that the lines are readable even where the widget breaks
        display({"text/plain": repr(self), "text/html": self._repr_html_()}, raw=True)
        try:
            widget = probe()
            data, metadata = widget._repr_mimebundle_()
        except Exception as error:
            data, metadata = {"text/plain": f"widgets: FAIL. {_reason(error)} {_NO_ANSWER}"}, {}
        else:
            folded = f"<summary>{escape(_NO_KERNEL)}</summary>In a live notebook: {escape(_NO_ANSWER)}"
            data |= {"text/plain": repr(widget), "text/html": f"<details>{folded}</details>"}
        display(data, metadata=metadata, raw=True)


def checkup(device: object = "auto") -> Checkup:
    """Try every package, the device and the widgets, and return what was found; it never raises.

    Args:
        device: as in a lesson's `parameters` cell, or the `torch.device` made from it.
    """
    wanted = [name for name in _TRIALS if name not in _OPTIONAL or find_spec(name)]
    return Checkup([*map(_package, wanted), _device(device)])


if __name__ == "__main__":
    found = checkup()
    print(found)
    raise SystemExit(not found)
