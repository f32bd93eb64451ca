"""The lessons in a real JupyterLab: what a learner sees, clicks and types."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser.contrasts import pale
from browser.jupyter import THEMES, Lab, Notebook, in_theme, open_notebook, outline, write_notebook
from playwright.sync_api import Browser, Locator, Page, expect

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
SETUP = "from featlab import practice\npractice.begin('questions')"
ASK = """practice.predict("{}", "What does `t[0]` hold after `a[0] = 9`?",
                 {{1.0: "still 1", 9.0: "9 as well"}}, mine=...)"""
COMPARE = 'practice.compare("{}", 9.0)'


@pytest.fixture(scope="module")
def questions(chromium: Browser, lab: Lab) -> Iterator[Notebook]:
    """A small notebook, in a workspace of its own, for the tests that answer one question."""
    with open_notebook(chromium, lab, write_notebook(lab, "questions", 4), workspace="questions") as notebook:
        yield notebook


@pytest.fixture
def asked(questions: Notebook, request: pytest.FixtureRequest) -> Notebook:
    """The small notebook with a new question just asked in cell 2, and not yet compared in cell 3."""
    questions.name = re.sub(r"\W+", "_", request.node.name)
    questions.write(1, SETUP)
    questions.write(2, ASK.format(questions.name))
    questions.write(3, COMPARE.format(questions.name))
    questions.command("notebook:clear-all-cell-outputs")
    questions.run(1)
    questions.run(2)
    return questions


def question(notebook: Notebook) -> Locator:
    return notebook.shown(2).locator(".featlab-question")


def status(notebook: Notebook) -> Locator:
    return question(notebook).get_by_role("status")


def choice(notebook: Notebook, letter: str) -> Locator:
    return question(notebook).get_by_role("button", name=f"{letter}) ")


# ---- the lessons


def test_a_lesson_runs_to_its_end_without_an_error(lesson: Notebook):
    errors = {cell["id"]: lesson.text(n) for n, cell in enumerate(lesson.cells) if "error" in kinds(cell)}
    assert not errors
    assert lesson.page.complaints == []


def kinds(cell: dict) -> set[str]:
    return {output["output_type"] for output in cell.get("outputs", [])}


def test_every_widget_of_a_lesson_is_drawn(lesson: Notebook):
    for number, cell in enumerate(lesson.cells):
        views = [out for out in cell.get("outputs", []) if WIDGET_VIEW in out.get("data", {})]
        drawn = lesson.shown(number).locator(".jp-OutputArea-output > .lm-Widget:not(:empty)")
        expect(drawn, cell["id"]).to_have_count(len(views))
        asks = cell["cell_type"] == "code" and "practice.predict(" in "".join(cell["source"])
        assert not asks or views, f"the question in {cell['id']} fell back to its text face"


@pytest.mark.parametrize("theme", THEMES)
def test_all_outputs_of_a_lesson_can_be_read_by_all(lesson: Notebook, theme: str, shots: Path):
    with in_theme(lesson, theme):
        lesson.shoot(shots / f"{lesson.name}-{theme}.png")
        assert pale(lesson.page.locator(".jp-Notebook .jp-OutputArea-output")) == []
        assert barriers(lesson.page) == []


def barriers(page: Page) -> list[tuple]:
    """Return what axe-core counts as serious or worse in the outputs.

    JupyterLab draws a picture without alt text; the lint of lessons asks for a prose cell below it that says the same.
    """
    where = ".jp-Notebook .jp-OutputArea-output:not(.jp-RenderedImage)"
    found = Axe().run(page, context=where).response["violations"]
    return [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]


def test_no_output_of_a_lesson_is_cut_off(lesson: Notebook):
    wide = "all => all.filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.textContent.slice(0, 80))"
    assert lesson.page.locator(".jp-Notebook .jp-OutputArea-output").evaluate_all(wide) == []


@pytest.mark.parametrize("lesson", ["00_start_here"], indirect=True)
def test_the_first_lesson_shows_an_accuracy_and_that_widgets_work(lesson: Notebook):
    assert re.search(r"It is: \d+ %", lesson.text(lesson.find('compare("fall"')))
    expect(lesson.page.get_by_text("widgets: OK")).to_be_visible()


def test_an_exercise_left_as_it_is_says_so(lesson: Notebook):
    for number, cell in enumerate(lesson.cells):
        if cell["cell_type"] == "code" and "practice.check(" in "".join(cell["source"]):
            assert re.search("not (tried )?yet", lesson.text(number)), cell["id"]


# ---- one question


def test_a_prediction_is_made_by_keyboard_alone(asked: Notebook):
    press = asked.page.keyboard.press
    asked.command("notebook:run-cell-and-select-next")  # as Shift+Enter does
    press("ArrowUp")
    press("Tab")
    expect(choice(asked, "a")).to_be_focused()
    before = outline(asked)
    for key in ("d", "d", "x", "m", "y", "z", "ArrowDown", "ArrowUp", "ArrowUp", "Delete"):
        press(key)
    assert outline(asked) == before
    expect(status(asked)).to_contain_text("Your turn")
    press("b")
    expect(status(asked)).to_have_text("Locked: b) 9 as well")
    for key in ("a", "b", "d", "d"):
        press(key)
    assert outline(asked) == before
    expect(status(asked)).to_have_text("Locked: b) 9 as well")
    for key in ("Escape", "ArrowDown", "Shift+Enter"):
        press(key)
    expect(asked.shown(3)).to_contain_text("You predicted: b) 9 as well")
    expect(asked.shown(3)).to_contain_text("right")


def test_no_buttons_of_the_cell_stand_between_it_and_its_question(asked: Notebook):
    # room on the right, where JupyterLab would put them; there a letter key would add, cut or delete cells
    asked.write(2, "ask = practice.predict\n" + ASK.format(asked.name).replace("practice.predict", "ask"))
    asked.command("notebook:run-cell-and-select-next")
    asked.page.keyboard.press("ArrowUp")
    asked.page.wait_for_timeout(500)  # they come late
    asked.page.keyboard.press("Tab")
    expect(choice(asked, "a")).to_be_focused(timeout=2000)


def test_enter_on_a_button_locks_it(asked: Notebook):
    choice(asked, "a").focus()
    asked.page.keyboard.press("Tab")
    asked.page.keyboard.press("Enter")
    expect(status(asked)).to_have_text("Locked: b) 9 as well")


def test_a_clicked_prediction_stays(asked: Notebook):
    choice(asked, "a").click()
    expect(status(asked)).to_have_text("Locked: a) still 1")
    choice(asked, "b").click(force=True)
    asked.run(2)
    expect(status(asked)).to_have_text("Locked: a) still 1")
    asked.run(3)
    assert "You predicted: a) still 1" in asked.text(3)
    assert "not this time" in asked.text(3)


def test_a_typed_prediction_counts_like_a_clicked_one(asked: Notebook):
    asked.write(2, ASK.format(asked.name).replace("mine=...", 'mine="b"'))
    asked.run(2)
    expect(status(asked)).to_have_text("Locked: b) 9 as well")
    asked.run(3)
    assert "You predicted: b) 9 as well" in asked.text(3)


@pytest.mark.parametrize("theme", THEMES)
def test_a_question_can_be_read(asked: Notebook, theme: str, shots: Path):
    with in_theme(asked, theme):
        assert pale(question(asked)) == []
        choice(asked, "a").click()
        expect(status(asked)).to_contain_text("Locked")
        asked.run(3)
        asked.page.screenshot(path=shots / f"question-{theme}.png")
        assert pale(question(asked)) == []
        assert pale(asked.shown(3).locator(".featlab-shown")) == []


def test_the_record_is_kept_and_read_by_another_notebook(asked: Notebook, chromium: Browser, lab: Lab):
    choice(asked, "b").click()
    expect(status(asked)).to_contain_text("Locked")
    asked.run(3)
    kept = json.loads((lab.folder / "my_lessons/.featlab/questions.json").read_text())["predictions"]
    assert kept[asked.name] == {"guess": "b) 9 as well", "right": True}
    with open_notebook(chromium, lab, write_notebook(lab, "another", 1), workspace="another") as another:
        another.write(1, "from featlab import practice\npractice.summary()")
        another.run(1)
        (line,) = [line for line in another.text(1).splitlines() if line.startswith("questions")]
    right = sum(prediction["right"] is True for prediction in kept.values())
    assert f"{len(kept)} made, {right} right" in line


def test_a_saved_notebook_shows_its_answer_when_opened_again(chromium: Browser, lab: Lab):
    path = write_notebook(lab, "saved", 3)
    with open_notebook(chromium, lab, path, workspace="saved") as before:
        before.write(1, SETUP)
        before.write(2, ASK.format("kept"))
        before.run(1)
        before.run(2)
        choice(before, "b").click()
        expect(status(before)).to_contain_text("Locked")
        before.command("docmanager:save")
    with open_notebook(chromium, lab, path, workspace="again") as after:
        # without the widget's state in the file: "Error displaying widget: model not found"
        expect(status(after)).to_have_text("Locked: b) 9 as well")
        assert after.page.complaints == []


def test_a_restart_in_the_middle_is_survived(asked: Notebook):
    choice(asked, "a").click()
    expect(status(asked)).to_contain_text("Locked")
    asked.restart()
    asked.run_all()
    expect(status(asked)).to_contain_text("closed")
    assert "nothing" in asked.text(3)
    assert not any("error" in kinds(cell) for cell in asked.cells)
