"""The lessons in Notebook 7, driven as in JupyterLab."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser.jupyter import Classic, Notebook, open_notebook, outline, write_notebook
from copies import copy_lessons
from playwright.sync_api import Browser, expect

# Notebook 7.6 says so on every page, an empty one too, and works all the same
NOTEBOOK_S_OWN = "Cannot read properties of undefined (reading 'schema')"
SETUP = """from featlab import practice
practice.begin("classic")
practice.predict("scribble", "What does `t[0]` hold?", {1.0: "still 1", 9.0: "9 as well"}, mine=...)"""
PICKER = """import torchvision, featlab as fl
picker = fl.LayerPicker(torchvision.models.resnet18())
picker"""


@pytest.fixture(scope="module")
def classic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Classic]:
    home = tmp_path_factory.mktemp("classic")
    copy_lessons(target=home / "my_lessons")
    server = Classic(home, tmp_path_factory.mktemp("jupyter"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def opened(chromium: Browser, classic: Classic) -> Iterator[Notebook]:
    with open_notebook(chromium, classic, write_notebook(classic, "classic", 3)) as notebook:
        yield notebook


def test_the_first_lesson_runs_and_draws_its_questions(chromium: Browser, classic: Classic, shots: Path):
    with open_notebook(chromium, classic, "my_lessons/00_start_here.ipynb") as notebook:
        notebook.run_all()
        assert not [cell["id"] for cell in notebook.cells if "Error" in str(cell.get("outputs"))]
        asked = notebook.find("practice.predict(")
        expect(notebook.shown(asked).locator(".featlab-question")).to_be_visible()
        notebook.shoot(shots / "classic.png")
        assert set(notebook.page.complaints) <= {NOTEBOOK_S_OWN}


def test_a_prediction_is_clicked_and_compared(opened: Notebook):
    opened.write(1, SETUP)
    opened.write(2, 'practice.compare("scribble", 9.0)')
    opened.run(1)
    opened.shown(1).get_by_role("button", name="b) 9 as well").click()
    expect(opened.shown(1).get_by_role("status")).to_contain_text("Locked: b)")
    opened.run(2)
    assert "✓" in opened.text(2)


def test_a_layer_is_picked_by_keyboard_and_no_key_touches_the_notebook(opened: Notebook):
    opened.write(3, PICKER)
    opened.run(3)
    before = outline(opened)
    tree = opened.shown(3).get_by_role("tree")
    tree.focus()
    for key in [*"ddxb", "/"]:
        opened.page.keyboard.press(key)
    opened.page.keyboard.type("layer2 bn1")
    opened.page.keyboard.press("ArrowDown")
    opened.page.keyboard.press("Enter")
    assert outline(opened) == before
    opened.write(2, "print(picker.value)")
    opened.run(2)
    assert opened.text(2).strip() == "layer2.0.bn1"
