"""The notebook machine's own acts: store, say what is stale, hand out copies, run twice, rewrite the address."""

import copy
import json
import re
from pathlib import Path

import addresses
import lessons
import nbformat
import pytest
import reruns
from copies import copy_lessons
from files import ROOT, LessonFailed
from kernels import execute
from nbformat.v4 import new_output
from nbval.plugin import get_sanitize_patterns
from scratch_lessons import cell, scratch_lesson

import notebooks


def save(nb, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(notebooks.dumps(nb), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def stored() -> nbformat.NotebookNode:
    return execute(scratch_lesson(), Path("scratch.ipynb"))


# ---- run, check, normal form


def test_run_stores_a_lesson_and_running_it_again_changes_no_byte(tmp_path, capsys):
    path = save(scratch_lesson(), tmp_path / "scratch.ipynb")
    assert lessons.main(["run", str(path)]) == 0
    first = path.read_bytes()
    assert lessons.main(["run", str(path)]) == 0
    assert path.read_bytes() == first
    assert [line.split(": ")[1] for line in capsys.readouterr().out.splitlines()] == ["updated", "unchanged"]
    assert [c.execution_count for c in notebooks.code_cells(notebooks.read(path))] == [*range(1, 9)]


def test_a_failing_cell_is_named_and_the_stored_file_stays(tmp_path, capsys):
    nb = scratch_lesson()
    cell(nb, "numbers").source = "1 / 0"
    path = save(nb, tmp_path / "scratch.ipynb")
    before = path.read_bytes()
    assert lessons.main(["run", str(path)]) == 1
    assert "scratch.ipynb, cell 'numbers': ZeroDivisionError: division by zero" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_check_says_what_is_stale_and_that_a_picture_differs(stored, tmp_path, monkeypatch):
    monkeypatch.setattr(reruns, "execute", lambda nb, path: copy.deepcopy(stored))
    nb = copy.deepcopy(stored)
    assert reruns.check(save(nb, tmp_path / "same.ipynb")) == "fresh"
    cell(nb, "numbers").outputs[-1].data["text/plain"] = "[1, 2]"
    cell(nb, "dot").outputs[0].data["image/png"] = "AAAA"
    with pytest.raises(
        LessonFailed, match=r"(?s)stale.*-  text/plain: \[1, 2\].*-  image/png: picture .*\+  image/png"
    ):
        reruns.check(save(nb, tmp_path / "changed.ipynb"))


@pytest.mark.parametrize("broken", ["{", "[]", '{"cells": [], "nbformat": 3}'])
def test_a_file_that_is_no_notebook_is_one_sentence(broken, tmp_path, capsys):
    (tmp_path / "x.ipynb").write_text(broken)
    assert lessons.main(["lint", str(tmp_path / "x.ipynb")]) == 1
    assert re.search(r"x.ipynb cannot be read as a notebook: [^\n]+\n$", capsys.readouterr().err)


def test_a_path_that_is_not_there_is_one_sentence(capsys):
    assert lessons.main(["run", "nowhere.ipynb"]) == 1
    assert capsys.readouterr().err == "There is no nowhere.ipynb.\n"


def test_the_normal_form_is_its_own_normal_form_and_holds_nothing_of_the_run(stored):
    nb = copy.deepcopy(stored)
    shown = cell(nb, "numbers")
    parts = [("stderr", "b"), ("stdout", "a <object at 0x7fe012345678>\n"), ("stderr", "c"), ("stdout", "d\n")]
    shown.outputs = [new_output("stream", name=name, text=text) for name, text in parts]
    shown.outputs.append(new_output("display_data", {notebooks.WIDGET_VIEW: {}, "text/plain": "Slider()"}))
    shown.metadata |= {"scrolled": True, "execution": {"iopub.execute_input": "now"}}
    nb.metadata["widgets"] = {}
    text = notebooks.dumps(nb)
    again = nbformat.reads(text, as_version=4)
    assert notebooks.dumps(again) == text
    assert [o.get("text", "") for o in cell(again, "numbers").outputs] == ["a <object at 0x…>\nd\n", "bc", ""]
    assert not re.search("widget|scrolled|iopub", text)


def test_an_ignored_cell_keeps_its_stored_output_while_only_figures_differ(stored):
    old, new = copy.deepcopy(stored), copy.deepcopy(stored)
    for nb, text in ((old, "torch  2.15.0"), (new, "torch  2.9")):
        cell(nb, "numbers").metadata["tags"] = ["nbval-ignore-output"]
        cell(nb, "numbers").outputs = [new_output("stream", name="stdout", text=text)]
    assert cell(notebooks.keep_wobbling(copy.deepcopy(new), old), "numbers").outputs[0].text == "torch  2.15.0"
    cell(new, "numbers").outputs[0].text = "numpy 2.9"
    assert cell(notebooks.keep_wobbling(new, old), "numbers").outputs[0].text == "numpy 2.9"


def sanitized(text):
    for pattern, replacement in get_sanitize_patterns(Path(__file__).with_name("nbval_sanitize.cfg").read_text()):
        text = re.sub(pattern, replacement, text)
    return text


@pytest.mark.parametrize(
    "printed",
    [
        "<object at 0x7f00deadbeef>",
        "0x000001F2A3B4C5D6, 0x9e21c8",
        "/tmp/ipykernel_71/1234.py:3: UserWarning: old",
        "0x1f",
    ],
)
def test_the_sanitizer_and_the_normal_form_agree(printed):
    assert sanitized(printed) == sanitized(notebooks.scrub(printed))
    assert (notebooks.scrub(printed) == printed) == (printed == "0x1f")


def test_the_sanitizer_takes_two_pictures_inside_html_for_the_same_and_keeps_their_words():
    face = '<img src="data:image/png;base64,{}" alt="{}">'.format
    assert sanitized(face("iVBORw0KGgo=", "16 channels")) == sanitized(face("iVBORw0+/AB", "16 channels"))
    assert sanitized(face("iVBORw0KGgo=", "16 channels")) != sanitized(face("iVBORw0KGgo=", "8 channels"))


# ---- copies


@pytest.fixture
def school(stored, tmp_path):
    """Return lessons, a learner's folder, and what copying says."""
    save(stored, tmp_path / "notebooks" / "scratch.ipynb")
    return (
        tmp_path / "notebooks",
        tmp_path / "my_lessons",
        lambda: copy_lessons(tmp_path / "notebooks", tmp_path / "my_lessons"),
    )


def renew(folder: Path) -> None:
    nb = notebooks.read(folder / "scratch.ipynb")
    cell(nb, "title").source = "# Scratch, improved"
    save(nb, folder / "scratch.ipynb")


def edit(path: Path, **change) -> bytes:
    nb = notebooks.read(path)
    cell(nb, "double").update(change)
    path.write_text(nbformat.v4.writes(nb), encoding="utf-8")
    return path.read_bytes()


NEWER = "scratch has a newer version: rename yours and run this again to get it"


def test_a_copy_has_no_answers_and_a_second_call_does_nothing(school):
    _, mine, hand_out = school
    assert hand_out() == ["my_lessons: 1 lessons, 1 new"]
    cells = notebooks.code_cells(notebooks.read(mine / "scratch.ipynb"))
    assert all(c.outputs == [] and c.execution_count is None for c in cells)
    assert (mine / ".featlab").is_dir()
    before = (mine / "scratch.ipynb").stat().st_mtime_ns
    assert hand_out() == ["my_lessons: 1 lessons, 0 new"]
    assert (mine / "scratch.ipynb").stat().st_mtime_ns == before


@pytest.mark.parametrize("change", [{"source": "double = 2"}, {"execution_count": 1}])
def test_a_copy_that_a_learner_touched_is_kept_and_its_newer_version_named(school, change):
    lessons_folder, mine, hand_out = school
    hand_out()
    kept = edit(mine / "scratch.ipynb", **change)
    assert hand_out() == ["my_lessons: 1 lessons, 0 new"]
    renew(lessons_folder)
    assert hand_out() == hand_out() == ["my_lessons: 1 lessons, 0 new", NEWER]
    assert (mine / "scratch.ipynb").read_bytes() == kept
    (mine / "scratch.ipynb").rename(mine / "my scratch.ipynb")
    assert hand_out() == ["my_lessons: 1 lessons, 1 new"]
    assert "improved" in (mine / "scratch.ipynb").read_text(encoding="utf-8")


def test_an_untouched_copy_follows_its_lesson(school):
    lessons_folder, mine, hand_out = school
    hand_out()
    renew(lessons_folder)
    assert hand_out() == ["my_lessons: 1 lessons, 0 new, 1 renewed"]
    assert "improved" in (mine / "scratch.ipynb").read_text(encoding="utf-8")


@pytest.mark.parametrize("spoiled", [b"", b"half a noteb", b"\xff\xfe"])
def test_a_copy_that_cannot_be_read_is_kept(school, spoiled):
    lessons_folder, mine, hand_out = school
    hand_out()
    (mine / "scratch.ipynb").write_bytes(spoiled)
    renew(lessons_folder)
    assert hand_out() == ["my_lessons: 1 lessons, 0 new", NEWER]
    assert (mine / "scratch.ipynb").read_bytes() == spoiled


def test_without_its_record_an_untouched_copy_is_recognised_and_any_other_kept(school):
    lessons_folder, mine, hand_out = school
    hand_out()
    (mine / ".featlab" / "copied-from.txt").unlink()
    assert hand_out() == ["my_lessons: 1 lessons, 0 new"]
    renew(lessons_folder)
    assert hand_out() == ["my_lessons: 1 lessons, 0 new, 1 renewed"]


def test_a_new_answer_in_a_lesson_is_no_newer_version(school):
    lessons_folder, mine, hand_out = school
    hand_out()
    edit(mine / "scratch.ipynb", source="double = 2")
    edit(lessons_folder / "scratch.ipynb", outputs=[], execution_count=None)
    assert hand_out() == ["my_lessons: 1 lessons, 0 new"]


# ---- twice


def test_twice_finds_a_cell_that_only_runs_once(tmp_path):
    nb = scratch_lesson()
    cell(nb, "dot").source = "del alias"
    with pytest.raises(LessonFailed, match=r"cell 'dot': NameError: .*\(every cell twice\)"):
        reruns.twice(save(nb, tmp_path / "scratch.ipynb"))


def test_twice_finds_what_the_first_half_leaves_for_the_second_run(tmp_path):
    nb = scratch_lesson()
    cell(nb, "setup").source += "\nfrom pathlib import Path"
    cell(nb, "colab").source = "import os\nos.mkdir(f'made-by-{os.getpid()}') if not [*os.scandir()][3:] else 1 / 0"
    path = save(nb, tmp_path / "home" / "scratch.ipynb")
    with pytest.raises(LessonFailed, match=r"cell 'colab': ZeroDivisionError"):
        reruns.twice(path)
    assert sorted(p.name for p in path.parent.iterdir()) == ["scratch.ipynb"]


def test_changed_proves_a_lesson_once_and_again_when_anything_changed(stored, tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(reruns, "twice", lambda path: ran.append(path.stem) or "ran")
    monkeypatch.setattr(reruns, "PROVEN", tmp_path / "proven.json")
    path = save(stored, tmp_path / "scratch.ipynb")
    assert [reruns.twice_if_changed(path) for _ in range(2)] == ["ran", "was proven before"]
    edit(path, outputs=[])
    assert reruns.twice_if_changed(path) == "was proven before"
    edit(path, source="double = 2")
    assert reruns.twice_if_changed(path) == "ran"
    monkeypatch.setattr(reruns, "ROOT", tmp_path)  # other sources of featlab: none
    assert reruns.twice_if_changed(path) == "ran"
    assert ran == ["scratch"] * 3


def test_changed_does_not_note_a_lesson_that_failed(stored, tmp_path, monkeypatch):
    def fail(path):
        raise LessonFailed("no")

    monkeypatch.setattr(reruns, "twice", fail)
    monkeypatch.setattr(reruns, "PROVEN", tmp_path / "proven.json")
    with pytest.raises(LessonFailed):
        reruns.twice_if_changed(save(stored, tmp_path / "scratch.ipynb"))
    assert not (tmp_path / "proven.json").exists()


# ---- address


@pytest.fixture
def project(stored, tmp_path):
    """Return the folder of a small project whose address nobody knows yet."""
    (tmp_path / "pyproject.toml").write_text('[project.urls]\nRepository = "https://github.com/OWNER/featlab"\n')
    (tmp_path / "README.md").write_text(
        "# featlab\n\n<!-- badges -->\n<!-- /badges -->\n\ngit clone https://github.com/OWNER/featlab.git\n"
        "Not https://github.com/pytorch/pytorch nor github.com/OWNER/featlab-extras.\n"
    )
    save(stored, tmp_path / "notebooks" / "scratch.ipynb")
    return tmp_path


def everything(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.rglob("*.*") if path.is_file()}


def test_an_address_is_written_everywhere_and_taken_back_without_a_trace(project):
    before = everything(project)
    changed = addresses.rewrite(project, "ada/deep-lab")
    assert sorted(changed) == ["README.md", "notebooks/scratch.ipynb", "pyproject.toml"]
    texts = everything(project)
    assert (
        "github.com/ada/deep-lab.git" in texts["README.md"] and "mybinder.org/v2/gh/ada/deep-lab/" in texts["README.md"]
    )
    assert "pytorch/pytorch nor github.com/OWNER/featlab-extras" in texts["README.md"]
    cells = json.loads(texts["scratch.ipynb"])["cells"]
    opening = "".join(cells[0]["source"])
    assert opening.startswith("# Scratch\n") and opening.endswith("What does a list share?")
    assert "colab.research.google.com/github/ada/deep-lab/blob/main/notebooks/scratch.ipynb" in opening
    assert "git+https://github.com/ada/deep-lab" in "".join(cells[1]["source"])
    assert addresses.disagreements(project) == []
    assert addresses.rewrite(project, "ada/deep-lab") == []
    addresses.rewrite(project, addresses.PLACEHOLDER)
    assert everything(project) == before


def test_no_badge_stands_while_the_owner_is_unknown(project):
    assert addresses.rewrite(project, addresses.PLACEHOLDER) == []
    assert "badge_logo" not in (project / "README.md").read_text()


def test_a_place_that_says_another_address_is_named(project):
    (project / "environment.yml").write_text("name: x\n# see github.com/ada/featlab\n")
    said = ["environment.yml, line 2: says ada/featlab, but pyproject.toml says OWNER/featlab"]
    assert addresses.disagreements(project) == said
    addresses.rewrite(project, addresses.PLACEHOLDER)
    assert addresses.disagreements(project) == []


@pytest.mark.parametrize("wrong", ["featlab", "https://github.com/ada/featlab", "ada/", "a b/c"])
def test_what_is_no_address_is_refused_in_one_sentence(wrong, project):
    before = everything(project)
    with pytest.raises(LessonFailed, match="is no address: write OWNER/NAME"):
        addresses.rewrite(project, wrong)
    assert everything(project) == before


def test_a_readme_without_a_place_for_badges_is_named_before_anything_is_written(project):
    (project / "README.md").write_text("# featlab\n")
    before = everything(project)
    with pytest.raises(LessonFailed, match="README.md needs the lines <!-- badges -->"):
        addresses.rewrite(project, "ada/featlab")
    assert everything(project) == before


def test_the_repository_agrees_on_its_own_address():
    assert addresses.disagreements(ROOT) == []
