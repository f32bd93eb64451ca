"""The clickable prediction's script alone, in a real browser, with a stand-in for the kernel."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

import featlab

STATIC = Path(featlab.__file__).parent / "static"
WHERE = "http://127.0.0.1/"  # answered by the test itself: no server
# keeps traits as a kernel's model does, and remembers what the page sent and which keys came through
PAGE = """<!doctype html><html lang="en"><title>question</title><link rel="stylesheet" href="question.css">
<div class="cell" tabindex="-1"><div id="here"></div></div><button id="after">after</button>
<script type="module">
  import widget from "./question.js";
  const traits = TRAITS, listeners = new Map();
  window.sent = []; window.keys = [];
  document.addEventListener("keydown", event => window.keys.push(event.key));
  const model = {
    get: name => traits[name],
    on: (name, call) => listeners.set(name, [...(listeners.get(name) ?? []), call]),
    off: (name, call) => listeners.set(name, listeners.get(name).filter(other => other !== call)),
    send: content => window.sent.push(content),
  };
  window.update = changes => {
    Object.assign(traits, changes);
    for (const name of Object.keys(changes)) for (const call of listeners.get(`change:${name}`) ?? []) call();
  };
  window.listening = () => [...listeners.values()].flat().length;
  window.stop = widget.render({ model, el: document.getElementById("here") });
</script>"""
CHOICES = {
    "question": "What does `t[0]` hold after <b>this</b>?",
    "options": ["still 1", "`9` as well", "<img src=x onerror=window.harmed=1>"],
    "numeric": False,
    "unit": "",
    "state": "open",
    "chosen": "",
    "status": "Your turn: click one.",
    "heard": 0,
}
NUMBER = CHOICES | {"question": "How many?", "options": [], "numeric": True, "unit": "%"}


@pytest.fixture
def show(page: Page):
    """Return a function that shows a question with these traits and returns its root."""

    def shown(traits: dict) -> Locator:
        def answer(route):
            name = route.request.url.removeprefix(WHERE)
            kinds = {"": "text/html", "question.js": "text/javascript", "question.css": "text/css"}
            if name not in kinds:
                return route.fulfill(status=404)
            body = (STATIC / name).read_text("utf8") if name else PAGE.replace("TRAITS", json.dumps(traits))
            return route.fulfill(body=body, content_type=f"{kinds[name]}; charset=utf-8")

        page.set_default_timeout(10_000)
        page.route(f"{WHERE}**", answer)
        page.goto(WHERE)
        return page.locator(".featlab-question")

    return shown


def sent(page: Page) -> list:
    return page.evaluate("window.sent.map(content => content.lock)")


def update(page: Page, **traits) -> None:
    page.evaluate("traits => window.update(traits)", traits)


def test_a_click_sends_its_letter_once(show, page):
    root = show(CHOICES)
    root.get_by_role("button", name="b) 9 as well").dblclick()
    root.get_by_role("button", name="a) still 1").click()
    assert sent(page) == ["b"]


def test_the_locked_answer_is_marked_in_words_and_announced(show, page):
    root = show(CHOICES)
    root.locator("[data-choice=b]").click()
    update(page, state="locked", chosen="b", status="Locked: b) `9` as well", heard=1)
    expect(root).to_have_attribute("data-state", "locked")
    expect(root.get_by_role("status")).to_have_text("Locked: b) 9 as well")
    expect(root.locator("[data-choice=b]")).to_have_text("b) 9 as well · Locked")
    expect(root.locator("[data-choice=a]")).to_have_text("a) still 1")
    for button in root.get_by_role("button").all():
        expect(button).to_have_attribute("aria-disabled", "true")
        button.click(force=True)
    expect(root.locator("[data-choice=c]")).to_be_focused()  # disabled, but a keyboard still reaches it
    assert sent(page) == ["b"]


def test_the_answers_are_a_group_named_by_the_question(show):
    root = show(CHOICES)
    group = root.get_by_role("group", name="Predict: What does t[0] hold after <b>this</b>?")
    expect(group.get_by_role("button")).to_have_count(3)


def test_words_are_text_and_backticks_code(show, page):
    root = show(CHOICES)
    expect(root.locator("[data-choice=c]")).to_contain_text("<img src=x onerror=window.harmed=1>")
    expect(root.locator("code")).to_have_text(["t[0]", "9"])
    assert page.evaluate("window.harmed") is None
    assert root.locator("img, b").count() == 0


def test_every_answer_is_reached_by_keyboard(show, page):
    ways = {
        "Enter": "a",
        "Space": "a",
        "Tab Enter": "b",
        "ArrowDown ArrowDown Space": "c",
        "ArrowRight ArrowLeft Enter": "a",
        "ArrowUp Enter": "c",
        "End ArrowDown Enter": "a",
        "End Home Enter": "a",
        "c": "c",
        "B": "b",
    }
    for keys, answer in ways.items():
        show(CHOICES)
        for key in ["Tab", *keys.split()]:
            page.keyboard.press(key)
        assert (keys, sent(page)) == (keys, [answer])


def test_other_keys_lock_nothing_and_none_reaches_the_page(show, page):
    show(CHOICES)
    page.keyboard.press("Tab")
    page.evaluate("window.keys = []")  # the Tab that led there was the page's own
    for key in ("d", "d", "x", "Shift+Enter", "Control+Enter", "Control+a", "Delete", "Escape"):
        page.keyboard.press(key)
    assert sent(page) == []
    assert page.evaluate("window.keys") == []


def test_escape_leads_back_to_the_cell(show, page):
    show(CHOICES)
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    expect(page.locator(".cell")).to_be_focused()


def test_each_focusable_element_asks_jupyterlab_to_keep_its_shortcuts(show):
    for traits in (CHOICES, NUMBER):
        root = show(traits)
        for node in root.locator("button, input").all():
            expect(node).to_have_attribute("data-lm-suppress-shortcuts", "true")


def test_a_number_is_typed_and_locked_by_keyboard(show, page):
    for last in ("Enter", "Tab Enter", "Tab Space"):
        root = show(NUMBER)
        page.keyboard.press("Tab")
        page.keyboard.type("21.5")
        for key in last.split():
            page.keyboard.press(key)
        assert (last, sent(page)) == (last, ["21.5"])
    update(page, state="locked", chosen="21.5", status="Locked: 21.5 %", heard=1)
    expect(root.get_by_role("button")).to_have_text("Locked")
    expect(root.get_by_role("spinbutton", name="Predict: How many?")).not_to_be_editable()
    page.keyboard.press("Enter")
    assert sent(page) == ["21.5"]


def test_an_empty_field_asks_for_a_number_and_sends_nothing(show, page):
    root = show(NUMBER)
    root.get_by_role("button", name="Lock").click()
    expect(root.get_by_role("status")).to_have_text("Type a number first.")
    assert sent(page) == []


def test_a_refused_number_may_be_tried_again(show, page):
    root = show(NUMBER)
    root.locator("input").fill("1")
    root.get_by_role("button").click()
    update(page, heard=1)  # the kernel answered, and nothing else changed
    root.get_by_role("button").click()
    assert sent(page) == ["1", "1"]


def test_a_question_locked_before_it_is_shown_comes_locked(show, page):
    root = show(NUMBER | {"state": "locked", "chosen": "21", "status": "Locked: 21 %"})
    expect(root.locator("input")).to_have_value("21")
    root = show(CHOICES | {"state": "locked", "chosen": "a", "status": "Locked: a) still 1"})
    expect(root.locator("[data-choice=a]")).to_contain_text("Locked")


def test_a_closed_question_refuses_every_answer(show, page):
    root = show(CHOICES)
    update(page, state="closed", status="The result is known.")
    root.locator("[data-choice=a]").click(force=True)
    page.keyboard.press("b")
    expect(root.get_by_role("status")).to_have_text("The result is known.")
    assert sent(page) == []


def test_a_kernel_that_does_not_answer_is_told_of(show):
    root = show(CHOICES)
    root.locator("[data-choice=a]").click()
    expect(root.get_by_role("status")).to_have_text("Waiting for the kernel. If it was restarted, run this cell again.")


def test_a_closed_view_listens_no_more(show, page):
    show(CHOICES)
    assert page.evaluate("window.listening()") > 0
    page.evaluate("window.stop()")
    assert page.evaluate("window.listening()") == 0


def test_nothing_was_written_to_the_console(show, page):
    show(CHOICES)
    assert page.complaints == []
