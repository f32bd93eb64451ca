"""The checkup tells the truth about what works, never raises, and leaves no widget behind."""

import re
import subprocess
import sys

import pytest
import torch

from featlab import checkups


def fail(reason):
    def trial():
        raise reason

    return trial


def test_all_is_well_here_and_says_so_in_both_faces():
    found = checkups.checkup("cpu")
    assert found, repr(found)
    assert repr(found).splitlines()[0] == found.summary == f"OK: all {len(found.lines) - 1} packages work, on cpu."
    assert re.match(r"<details><summary>OK: ", found._repr_html_())
    for line in found.lines:
        assert re.search(rf"OK +{line.what} +{re.escape(line.found)}", repr(found))
        assert line.what in found._repr_html_()


@pytest.mark.parametrize(
    "error",
    [
        ImportError("No module named 'torchvision'"),
        RuntimeError("operator torchvision::nms does not exist"),
        OSError("libcudart.so: cannot open shared object file"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_package_that_cannot_work_is_a_fail_line_with_what_to_do(monkeypatch, error):
    monkeypatch.setitem(checkups._TRIALS, "torchvision", (fail(error), checkups._PAIR))
    found = checkups.checkup("cpu")
    assert not found
    [line] = [line for line in found.lines if not line.works]
    assert line.what == "torchvision" and str(error) in line.remedy and "from one and the same index" in line.remedy
    assert "<details open>" in found._repr_html_() and "FAIL: torchvision." in found.summary


def test_a_torchvision_without_its_operators_is_noticed(monkeypatch):
    # what a CPU-only torch beside a CUDA build of torchvision looks like from here
    monkeypatch.setattr("torchvision.ops.nms", fail(RuntimeError("operator torchvision::nms does not exist")))
    assert not checkups._package("torchvision").works


def test_a_package_that_is_absent_is_a_fail_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    line = checkups._package("scikit-learn")
    assert not line.works and "pip install --force-reinstall scikit-learn" in line.remedy


def test_jupyterlab_without_its_widget_extensions_is_noticed(monkeypatch, tmp_path):
    monkeypatch.setattr("jupyter_core.paths.jupyter_path", lambda *_: [str(tmp_path)])
    line = checkups._package("jupyterlab")
    assert not line.works and "@jupyter-widgets/jupyterlab-manager" in line.remedy


@pytest.mark.parametrize("asked", ["cuda:99", "gpu", "meta?"])
def test_a_device_that_is_not_there_is_a_fail_line(asked):
    found = checkups.checkup(asked)
    assert [line.what for line in found.lines if not line.works] == ["device"]
    assert 'device = "cpu" always works' in repr(found)


def test_a_device_object_is_taken_as_well():
    assert checkups.checkup(torch.device("cpu")).lines[-1] == ("device", True, "cpu", "")


def test_names_and_errors_are_text_never_html():
    found = checkups.Checkup([checkups.Line("<b>x</b>", False, "", "<script>")])
    assert "<b>" not in found._repr_html_() and "<script>" not in found._repr_html_()


def test_the_widget_answers_what_its_page_asks():
    widget, said = checkups.probe(), []
    widget.send = said.append
    widget._handle_custom_msg({"question": 41}, [])
    assert said == [{"answer": 42}]
    assert "On GitHub or in a saved page that is normal" in repr(widget) and "0x" not in repr(widget)


def test_display_gives_the_lines_and_the_widget_apart(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **_: shown.append(data))
    checkups.checkup("cpu")._ipython_display_()
    lines, widget = shown
    assert set(lines) == {"text/plain", "text/html"}
    assert set(widget) == {"text/plain", "text/html", "application/vnd.jupyter.widget-view+json"}


def test_display_never_raises_where_widgets_are_broken(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **_: shown.append(data))
    monkeypatch.setattr(checkups, "probe", fail(ImportError("No module named 'anywidget'")))
    checkups.checkup("cpu")._ipython_display_()
    assert "widgets: FAIL" in shown[-1]["text/plain"] and "type predictions" in shown[-1]["text/plain"]


def test_a_checkup_leaves_generators_grad_mode_and_widgets_as_found():
    from ipywidgets.widgets import widget

    checkups.checkup("cpu")
    alive = lambda: len(widget._instances)  # noqa: E731
    before = torch.get_rng_state(), torch.is_grad_enabled(), alive()
    with torch.inference_mode():
        assert checkups.checkup("cpu")
    assert torch.equal(before[0], torch.get_rng_state()) and before[1:] == (torch.is_grad_enabled(), alive())


def test_the_room_loads_nothing_heavy_and_runs_from_a_terminal():
    code = "import sys, featlab.checkups; print(*{n.split('.')[0] for n in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "torchvision", "matplotlib", "ipywidgets", "anywidget", "sklearn"} & set(done.stdout.split())
    done = subprocess.run([sys.executable, "-m", "featlab.checkups"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("OK: all") and not done.stderr
