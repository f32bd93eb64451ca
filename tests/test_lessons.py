"""Every lesson is in order, runs with given parameters, and leaves nothing behind; each way to break one is caught."""

import copy
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import files
import lint
import nbformat
import pytest
from files import LessonFailed
from kernels import execute
from leftovers import run_watched
from nbformat.v4 import new_code_cell, new_notebook, new_output
from scratch_lessons import CLAIMS, cell, scratch_lesson

import notebooks
from notebooks import with_parameters

DEVICE = os.environ.get("FEATLAB_DEVICE", "cpu")
LESSONS = sorted(files.LESSONS.glob("*.ipynb"))
SANITIZER = Path(__file__).with_name("nbval_sanitize.cfg")

each_lesson = pytest.mark.parametrize("path", LESSONS, ids=[path.stem for path in LESSONS])


# ---- the lessons themselves


@each_lesson
def test_a_stored_lesson_is_in_order(path):
    assert lint.problems(path, lint.read_claims()) == []


@each_lesson
def test_a_lesson_runs_with_a_given_device_and_leaves_nothing_behind(path, tmp_path):
    nb = with_parameters(notebooks.read(path), {"device": DEVICE})
    _, left = run_watched(nb, path, tmp_path, gpu=DEVICE != "cpu")
    assert left == []


@pytest.mark.parametrize(("device", "named"), [("warp", "warp"), ("cuda", "GPU")])
def test_a_device_that_is_not_there_is_one_sentence(device, named, tmp_path):
    nb = scratch_lesson()
    cell(nb, "setup").source = "from featlab import samples\ndevice = samples.device(device)"
    with pytest.raises(LessonFailed, match=named) as failure:
        execute(with_parameters(nb, {"device": device}), tmp_path / "scratch.ipynb")
    assert re.fullmatch(r"\S*scratch.ipynb, cell 'setup': (ValueError|RuntimeError): [^\n]*\.", str(failure.value))


# ---- a lesson in good order, and what breaks it


@pytest.fixture(scope="module")
def stored() -> nbformat.NotebookNode:
    """A small lesson as `run` stores it."""
    return execute(scratch_lesson(), Path("scratch.ipynb"))


@pytest.fixture
def faults(stored, tmp_path, monkeypatch):
    """Return what lint says of the lesson after one change."""
    monkeypatch.setattr("featlab.exercises.of_lesson", lambda lesson: [SimpleNamespace(name="double")])

    def after(change) -> list[str]:
        nb, path = copy.deepcopy(stored), tmp_path / "scratch.ipynb"
        change(nb)
        path.write_text(nbformat.v4.writes(nb) + "\n", encoding="utf-8")
        return lint.problems(path, CLAIMS)

    return after


def retag(here, *new):
    return lambda nb: cell(nb, here).metadata.update(tags=list(new))


def source(here, text):
    return lambda nb: cell(nb, here).update(source=text)


def output(here, made):
    return lambda nb: cell(nb, here).outputs.append(made)


def error():
    return new_output("error", ename="ValueError", evalue="five", traceback=["ValueError: five"])


def printed(text):
    return new_output("stream", name="stdout", text=text)


def pop(here):
    return lambda nb: nb.cells.remove(cell(nb, here))


NO_ASSERT = "cell 'sorted' claims S1 but asserts nothing"
NO_PATH = "cell 'numbers' holds a path of one machine: "
BREAKS = {
    "an untagged claim": (retag("shared"), "no cell is tagged claim:S2"),
    "a claim tagged twice": (retag("shared", "claim:S1", "claim:S2"), "S1 is claimed by 2 cells: sorted, shared"),
    "a claim nobody knows": (retag("sorted", "claim:S1", "claim:S9"), "S9, which tests/claims.toml does not know"),
    "a claim of another lesson": (retag("sorted", "claim:S1", "claim:O1"), "O1, which belongs to other"),
    "a claim without an assert": (
        source("sorted", "sorted(numbers) != numbers"),
        NO_ASSERT,
    ),
    "an assert that cannot fail": (source("sorted", "assert 1 < 2"), NO_ASSERT),
    "an assert of a tuple": (source("sorted", "assert (numbers, 'x')"), NO_ASSERT),
    "no parameters cell": (retag("parameters"), "0 code cells tagged parameters"),
    "two parameters cells": (retag("setup", "parameters"), "2 code cells tagged parameters"),
    "a parameter that is computed": (source("parameters", "device = str()\nseed = 0"), "name = literal"),
    "a parameter that is missing": (source("parameters", 'device = "auto"'), "no parameter seed"),
    "a parameter that nothing reads": (
        source("parameters", 'device = "auto"\nseed = 0\nsize = 3'),
        "nothing reads the parameter 'size'",
    ),
    "a stored error": (output("numbers", error()), "'numbers' stores an error: ValueError: five"),
    "an unrun cell": (lambda nb: cell(nb, "numbers").update(execution_count=None), "1 cells were never run: numbers"),
    "a blank cell": (source("numbers", " \n"), "'numbers' is blank"),
    "broken Python": (source("numbers", "numbers = ("), "'numbers' is not valid Python"),
    "widget state": (lambda nb: nb.metadata.update(widgets={}), "stores widget state"),
    "a widget's view": (
        output("numbers", new_output("display_data", {notebooks.WIDGET_VIEW: {}, "text/plain": "x"})),
        "'numbers' stores a widget's view",
    ),
    "a path in the code": (
        source("numbers", "open('/home/ada/x.csv')"),
        NO_PATH + "/home/ada",
    ),
    "a path in an output": (output("numbers", printed("in C:\\Users\\ada")), NO_PATH + "C:\\Users\\ada"),
    "a path of a package": (output("numbers", printed("/opt/lib/site-packages/x.py:3")), NO_PATH + "/opt/lib"),
    "too many bytes": (output("numbers", printed("x" * 1_000_000)), "it has 1.0 MB; a lesson stays under 1 MB"),
    "too much prose": (source("dot-in-words", "word " * 121), "'dot-in-words' has 121 words of prose; 120 at most"),
    "too much code": (source("numbers", "numbers = 1\n" * 16), "'numbers' has 16 lines of code; 15 at most"),
    "too long a line": (source("numbers", f"numbers = {'1' * 85}"), "'numbers' has a line of 95 columns; 94 at most"),
    "an id of a machine": (lambda nb: cell(nb, "setup").update(id="0a1b2c3d"), "cell 4 has the id '0a1b2c3d'"),
    "a mistyped tag": (retag("numbers", "nbval-ignor-output"), "'numbers' has the unknown tag 'nbval-ignor-output'"),
    "no Colab cell": (retag("colab"), "exactly one code cell tagged colab"),
    "a picture without words": (source("dot-in-words", "## A heading"), "'dot' shows a picture"),
    "a picture without alt text": (
        source("dot-in-words", "![](../README.md) Words."),
        "'dot-in-words' has a picture without alt text",
    ),
    "a dead link": (
        source("dot-in-words", "See [that](../no.md)."),
        "links to ../no.md, which does not exist",
    ),
    "an exercise without a solution": (pop("double-solution"), "exercise:double but no cell solution:double"),
    "an exercise without a check": (source("double", "double = ..."), "does not call practice.check"),
    "an exercise nobody registered": (retag("double", "exercise:triple"), "exercise:triple has no check of scratch"),
    "a solution that is not folded": (source("double-solution", "double = 2"), "must fold the solution of double"),
    "an older form": (lambda nb: cell(nb, "setup").metadata.update(scrolled=True), "not in normal form"),
}


def test_lint_finds_nothing_in_a_lesson_in_good_order(faults):
    assert faults(lambda nb: None) == []


@pytest.mark.parametrize("broken", BREAKS)
def test_lint_names(broken, faults):
    change, sentence = BREAKS[broken]
    assert sentence in "\n".join(faults(change))


def test_an_id_given_twice_is_no_notebook(faults):
    with pytest.raises(LessonFailed, match="scratch.ipynb cannot be read as a notebook: .*'colab'"):
        faults(lambda nb: cell(nb, "setup").update(id="colab"))


def test_a_fold_a_table_and_a_code_block_are_not_prose(faults):
    long = "word " * 130
    text = f"Words.\n\n<details><summary>Hint</summary>{long}</details>\n\n| {long} |\n\n```python\n{long}\n```"
    assert faults(source("dot-in-words", text)) == []


def test_alt_text_of_an_output_can_replace_the_sentence(faults):
    def change(nb):
        cell(nb, "dot-in-words").source = "## A heading"
        cell(nb, "dot").outputs[0].metadata = {"image/png": {"alt": "one dark pixel"}}

    assert faults(change) == []


def test_a_mistyped_parameter_is_refused_by_name():
    with pytest.raises(LessonFailed, match="no parameter 'devise'; it has device, seed"):
        with_parameters(scratch_lesson(), {"devise": "cpu"})


def test_a_given_parameter_reaches_the_cells(tmp_path):
    done = execute(with_parameters(scratch_lesson(), {"device": "cpu"}), tmp_path / "scratch.ipynb")
    assert "cpu" in cell(done, "numbers").outputs[0].text


def test_a_false_assert_is_named_with_its_cell(tmp_path):
    nb = scratch_lesson()
    cell(nb, "sorted").source = "assert sorted(numbers) == numbers"
    with pytest.raises(LessonFailed, match=r"scratch.ipynb, cell 'sorted': AssertionError: assert sorted.numbers. =="):
        execute(nb, tmp_path / "scratch.ipynb")


LITTER = """
from pathlib import Path
Path("notes.txt").write_text("left here")
"""
SLEEPER = """
import subprocess, sys
nap = [sys.executable, "-c", "import time; time.sleep(60)"]
subprocess.Popen(nap); subprocess.Popen(nap, start_new_session=True);
"""
CALLER = """
import socket, subprocess, urllib.request
by_name = lambda: urllib.request.urlopen("https://pytorch.org", timeout=2)
by_number = lambda: socket.socket().connect(("192.0.2.1", 80))
by_program = lambda: subprocess.run(["git", "clone", "elsewhere"])
for call in (by_name, by_number, by_program):
    try: call()
    except OSError as error: print(error)
"""
LOCAL = """
with socket.create_server(("127.0.0.1", 0)) as server: socket.create_connection(server.getsockname()).close()
"""


def test_a_file_a_process_and_a_call_into_the_network_are_found(tmp_path):
    nb = new_notebook(cells=[new_code_cell(text) for text in (LITTER, SLEEPER, CALLER, LOCAL)])
    (tmp_path / "home").mkdir()
    done, left = run_watched(nb, tmp_path / "home" / "scratch.ipynb", tmp_path)
    assert [line.split(" ")[1] for line in left] == ["process", "process", "file", "network", "network", "network"]
    for line, named in zip(left[1:], ("time.sleep(60)", "notes.txt", "pytorch.org", "192.0.2.1", "git"), strict=True):
        assert named in line
    assert "runs without the network, but asked for pytorch.org" in done.cells[2].outputs[0].text


def test_nbval_passes_what_was_stored_and_fails_what_was_changed(stored, tmp_path):
    nb = copy.deepcopy(stored)
    (tmp_path / "kept.ipynb").write_text(notebooks.dumps(nb), encoding="utf-8")
    cell(nb, "numbers").outputs[-1].data["text/plain"] = "[1, 2, 3, 4]"
    (tmp_path / "changed.ipynb").write_text(notebooks.dumps(nb), encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    options = ["--nbval", "--nbval-current-env", f"--nbval-sanitize-with={SANITIZER}", "-p", "no:cacheprovider", "-rf"]
    run = [sys.executable, "-m", "pytest", *options, "-c", "pytest.ini", "kept.ipynb", "changed.ipynb"]
    said = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=120).stdout
    failed = [line for line in said.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 1 and "changed.ipynb::Cell 3" in failed[0], said
    assert "1 failed" in said and "[1, 2, 3, 4]" in said
