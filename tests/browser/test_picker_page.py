"""The layer picker's script alone, in a real browser, with a stand-in for the kernel."""

import base64
import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect
from torch import nn

import featlab
from featlab.pickers import LayerPicker

STATIC = Path(featlab.__file__).parent / "static"
WHERE = "http://127.0.0.1/"  # answered by the test itself: no server
PIXEL = base64.b64encode(
    base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
).decode()
# keeps traits as a kernel's model does, and remembers what the page sent and which keys came through
PAGE = """<!doctype html><html lang="en"><title>picker</title><link rel="stylesheet" href="picker.css">
<div class="cell" tabindex="-1"><div id="here"></div></div><button id="after">after</button>
<script type="module">
  import widget from "./picker.js";
  const traits = TRAITS, listeners = new Map();
  const binary = panel => panel.png
    ? {...panel, png: new DataView(Uint8Array.from(atob(panel.png), c => c.charCodeAt(0)).buffer)} : panel;
  traits.panel = binary(traits.panel);
  window.sent = []; window.keys = [];
  document.addEventListener("keydown", event => window.keys.push(event.key));
  const model = {
    get: name => traits[name],
    on: (name, call) => listeners.set(name, [...(listeners.get(name) ?? []), call]),
    off: (name, call) => listeners.set(name, listeners.get(name).filter(other => other !== call)),
    send: content => { if (window.gone) throw new Error("Cannot send"); window.sent.push(content); },
  };
  window.update = changes => {
    if (changes.panel) changes.panel = binary(changes.panel);
    Object.assign(traits, changes);
    for (const name of Object.keys(changes)) for (const call of listeners.get(`change:${name}`) ?? []) call();
  };
  window.listening = () => [...listeners.values()].flat().length;
  window.stop = widget.render({ model, el: document.getElementById("here") });
</script>"""


class Block(nn.Sequential):
    """Two layers: a parent with children of its own."""

    def __init__(self):
        super().__init__(nn.Linear(4, 4), nn.ReLU())


def small() -> nn.Module:
    return nn.ModuleDict({"stem": nn.Linear(4, 4), "body": nn.Sequential(Block(), Block()), "head": nn.Linear(4, 2)})


def deep() -> nn.Module:
    return nn.Sequential(*[nn.Sequential(Block(), Block()) for _ in range(200)])


def drawn(name: str, **more) -> dict:
    """A panel as Python sends it."""
    steps = [{"key": "image", "at": 0, "of": 2, "text": "image 0 of 2"}]
    panel = {
        "name": name,
        "kind": "Linear",
        "line": "(2, 4) float32 · from 0 to 1",
        "caption": "Four bars.",
        "png": PIXEL,
    }
    return panel | {"alt": f"{name} as four bars", "steps": steps, "more": None} | more


@pytest.fixture
def show(page: Page):
    """Return a function that shows a picker of this model, and returns its root."""

    def shown(model: nn.Module, **traits) -> Locator:
        start = {
            "tree": LayerPicker(model).tree,
            "value": None,
            "names": [],
            "panel": {"says": "Pick one."},
            "heard": 0,
        }

        def answer(route):
            name = route.request.url.removeprefix(WHERE)
            kinds = {"": "text/html", "picker.js": "text/javascript", "picker.css": "text/css"}
            if name not in kinds:
                return route.fulfill(status=404)
            files = {"picker.js": ["tree.js", "picker.js"]}.get(name, [name])
            body = "".join((STATIC / file).read_text("utf8") for file in files) if name else ""
            body = body or PAGE.replace("TRAITS", json.dumps(start | traits))
            return route.fulfill(body=body, content_type=f"{kinds[name]}; charset=utf-8")

        page.set_default_timeout(10_000)
        page.route(f"{WHERE}**", answer)
        page.goto(WHERE)
        return page.locator(".featlab-picker")

    return shown


def sent(page: Page) -> list:
    return page.evaluate("window.sent")


def update(page: Page, **traits) -> None:
    page.evaluate("traits => window.update(traits)", traits)


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def cursor(page: Page) -> str:
    """Return the name of the row that the tree says is active."""
    script = "tree => document.getElementById(tree.getAttribute('aria-activedescendant'))?.getAttribute('aria-label')"
    return page.get_by_role("tree").evaluate(script).split(",")[0]


def rows(root: Locator) -> list[str]:
    return [
        label.split(",")[0] for label in root.get_by_role("treeitem").evaluate_all("all => all.map(x => x.ariaLabel)")
    ]


def test_a_small_tree_is_open_and_says_what_each_row_is(show):
    root = show(small())
    inside = [f"body.{i}{part}" for i in (0, 1) for part in ("", ".0", ".1")]
    assert rows(root) == ["stem", "body", *inside, "head"]
    row = root.get_by_role("treeitem", name="body.0, Block, 20 parameters, ● train")
    for name, value in {"level": 2, "setsize": 2, "posinset": 1, "expanded": "true", "selected": "false"}.items():
        expect(row).to_have_attribute(f"aria-{name}", str(value))
    expect(root.get_by_role("treeitem", name="stem")).not_to_have_attribute("aria-expanded", "true")
    expect(root.locator(".featlab-count")).to_have_text("9 submodules")


def test_a_large_tree_starts_folded_and_draws_only_what_is_seen(show):
    root = show(deep())
    assert root.get_by_role("treeitem").count() < 30
    assert rows(root)[:2] == ["0", "1"]
    root.get_by_role("tree").evaluate("tree => { tree.scrollTop = 100 * 24 }")
    expect(root.get_by_role("treeitem", name="104, ")).to_be_visible()
    assert root.get_by_role("treeitem").count() < 30


def test_arrows_move_open_and_close(show, page):
    show(small())
    page.get_by_role("tree").focus()
    walk = {
        "ArrowDown": "body",
        "ArrowRight": "body.0",
        "ArrowRight ": "body.0.0",
        "ArrowLeft": "body.0",
        "ArrowLeft ": "body.0",
        "ArrowDown ": "body.1",
        "End": "head",
        "ArrowDown  ": "head",
        "ArrowUp": "body.1.1",
        "Home": "stem",
        "ArrowUp ": "stem",
        "PageDown": "head",
        "PageUp": "stem",
    }
    for key, where in walk.items():
        press(page, key.strip())
        assert (key, cursor(page)) == (key, where)
    assert sent(page) == []


def test_closing_hides_and_opening_shows(show, page):
    root = show(small())
    page.get_by_role("tree").focus()
    press(page, "ArrowDown", "ArrowLeft")
    assert rows(root) == ["stem", "body", "head"]
    expect(root.get_by_role("treeitem", name="body, ")).to_have_attribute("aria-expanded", "false")
    root.locator(".featlab-fold").nth(1).click()
    assert "body.1" in rows(root)
    assert sent(page) == []


def test_enter_picks_and_space_adds(show, page):
    show(small())
    page.get_by_role("tree").focus()
    press(page, "Enter", "ArrowDown", "Space")
    assert sent(page) == [{"pick": "stem"}, {"toggle": "body"}]


def test_a_click_picks_and_a_click_with_control_adds(show, page):
    root = show(small())
    root.get_by_role("treeitem", name="head").click()
    root.get_by_role("treeitem", name="stem").click(modifiers=["Control"])
    assert sent(page) == [{"pick": "head"}, {"toggle": "stem"}]


def test_what_is_picked_is_marked_by_a_sign_and_said(show, page):
    root = show(small())
    update(page, value="head", names=["body.0", "head"])
    for name in ("body.0, ", "head"):
        expect(root.get_by_role("treeitem", name=name)).to_have_attribute("aria-selected", "true")
        expect(root.get_by_role("treeitem", name=name)).to_contain_text("✓")
    expect(root.locator(".featlab-count")).to_have_text("9 submodules · 2 picked")
    expect(root.locator(".featlab-shown")).to_contain_text("head")


def test_a_value_set_in_code_is_brought_to_sight(show, page):
    root = show(deep())
    update(page, value="150.1.0_2", names=["150.1.0_2"])  # its third call
    row = root.get_by_role("treeitem", name="150.1.0, ")
    expect(row).to_be_in_viewport()
    expect(row).to_have_attribute("aria-selected", "true")
    root.locator(".featlab-search").fill("relu")
    update(page, value="3", names=["3"])
    expect(root.locator(".featlab-search")).to_have_value("")
    expect(root.get_by_role("treeitem", name=re.compile("^3, "))).to_be_in_viewport()


@pytest.mark.parametrize("order", [("heard", "value", "names"), ("names", "value", "heard")])
def test_an_answer_that_comes_late_leaves_what_is_typed_meanwhile(show, page, order):
    root = show(small())
    root.get_by_role("treeitem", name="stem").click()
    root.get_by_role("searchbox").fill("body.1")
    page.evaluate(
        "([order, traits]) => window.update(Object.fromEntries(order.map(key => [key, traits[key]])))",
        [order, {"value": "stem", "names": ["stem"], "heard": 1}],
    )
    page.evaluate("() => Promise.resolve()")
    expect(root.get_by_role("searchbox")).to_have_value("body.1")
    assert rows(root) == ["body.1", "body.1.0", "body.1.1"]
    update(page, value="head", names=["head"])  # now from a cell
    expect(root.get_by_role("searchbox")).to_have_value("")


def test_a_new_tree_keeps_the_search_and_the_row(show, page):
    root = show(small(), value="stem", names=["stem"])
    root.get_by_role("searchbox").fill("body.1")
    press(page, "ArrowDown", "ArrowDown", "ArrowDown")
    before = cursor(page)
    update(page, tree=LayerPicker(nn.ModuleDict({"first": nn.Identity(), **dict(small().items())})).tree)
    expect(root.get_by_role("searchbox")).to_have_value("body.1")
    assert cursor(page) == before == "body.1.1"


def test_search_finds_names_and_classes_as_one_types(show, page):
    root = show(small())
    page.get_by_role("tree").focus()
    press(page, "/")
    page.keyboard.type("Bod lin")
    assert rows(root) == ["body.0.0", "body.1.0"]
    expect(root.get_by_role("treeitem").first).to_have_attribute("aria-setsize", "2")
    expect(root.locator(".featlab-count")).to_have_text("2 of 9 submodules match")
    expect(root.locator("mark").first).to_have_text("bod")
    press(page, "Enter")
    assert sent(page) == [{"pick": "body.0.0"}]
    press(page, "ArrowDown", "ArrowDown", "Enter")
    assert sent(page)[1:] == [{"pick": "body.1.0"}]
    press(page, "Escape")
    assert len(rows(root)) == 9
    assert cursor(page) == "body.1.0"


def test_whole_names_are_seen_while_searching_even_where_there_is_little_room(show, page):
    page.set_viewport_size({"width": 500, "height": 700})
    blocks = nn.ModuleDict({"encoder": nn.ModuleDict({"layer": nn.ModuleDict({"attention": Block()})})})
    root = show(blocks)
    root.locator(".featlab-search").fill("relu")
    above = root.locator(".featlab-row .featlab-above")
    expect(above).to_have_text("encoder.layer.attention.")
    assert above.evaluate("part => part.scrollWidth <= part.clientWidth")


@pytest.mark.parametrize("font", ["sans-serif", "serif", "monospace"])
def test_class_shape_and_mode_are_seen_whole_in_every_font(show, page, font):
    root = show(nn.Sequential(*[nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU()) for _ in range(9)]))
    root.evaluate("(root, font) => root.style.setProperty('--jp-ui-font-family', font)", font)
    page.set_viewport_size({"width": 1000, "height": 800})  # it is measured anew where the room changes
    cells = root.locator(".featlab-row > :not(.featlab-name)")
    page.wait_for_timeout(100)
    cut = cells.evaluate_all("all => all.filter(one => one.scrollWidth > one.clientWidth).map(one => one.textContent)")
    assert cut == []


def test_a_name_too_long_for_its_column_ends_in_dots(show, page):
    root = show(nn.ModuleDict({"a_name_of_many_words_" * 5: nn.ReLU()}))
    part = root.locator(".featlab-row .featlab-part")
    assert part.evaluate("part => part.scrollWidth > part.clientWidth")
    assert part.evaluate("part => getComputedStyle(part).textOverflow") == "ellipsis"


def test_a_search_without_a_match_picks_nothing(show, page):
    root = show(small())
    root.locator(".featlab-search").fill("nothing like it")
    press(page, "Enter", "ArrowDown", "Space", "End")
    expect(root.locator(".featlab-count")).to_have_text("0 of 9 submodules match")
    assert sent(page) == []


def test_no_key_reaches_the_page(show, page):
    show(small())
    for place in (".featlab-tree", ".featlab-search"):
        page.locator(place).focus()
        page.evaluate("window.keys = []")
        press(page, "d", "d", "x", "Shift+Enter", "Control+Enter", "Control+a", "Delete", "ArrowDown", "Escape")
        assert page.evaluate("window.keys") == []
    assert sent(page) == []


def test_escape_leads_out_of_the_search_and_then_back_to_the_cell(show, page):
    root = show(small())
    page.get_by_role("tree").focus()
    press(page, "/", "s", "Escape")
    expect(root.locator(".featlab-search")).to_have_value("")
    press(page, "Escape")
    expect(page.get_by_role("tree")).to_be_focused()
    press(page, "Escape")
    expect(page.locator(".cell")).to_be_focused()


def test_each_focusable_element_asks_jupyterlab_to_keep_its_shortcuts(show, page):
    more = {"facts": [["given", "(2, 4) float32"]], "histogram": {}}
    root = show(small(), value="stem", names=["stem"], panel=drawn("stem", more=more))
    nodes = root.locator("input, button, summary, select, a, [tabindex]").all()
    assert len(nodes) == 5
    for node in nodes:
        expect(node).to_have_attribute("data-lm-suppress-shortcuts", "true")


def test_the_panel_shows_one_picture_and_one_line_and_the_rest_on_request(show, page):
    root = show(small(), value="stem", names=["stem"], panel=drawn("stem"))
    expect(root.get_by_role("img", name="stem as four bars")).to_be_visible()
    expect(root.locator(".featlab-line")).to_have_text("(2, 4) float32 · from 0 to 1")
    expect(root.locator(".featlab-steps")).to_be_hidden()
    root.locator("summary").click()
    page.wait_for_function("window.sent.length === 1")
    assert sent(page) == [{"more": True}]
    histogram = {"counts": [1, 2, 0], "words": "Histogram from 0 to 1."}
    update(page, panel=drawn("stem", more={"facts": [["given", "(2, 4)"]], "histogram": histogram}), heard=1)
    expect(root.get_by_role("img", name="Histogram from 0 to 1.")).to_be_visible()
    expect(root.locator("dl")).to_have_text("given(2, 4)")
    root.get_by_role("button", name="next image").click()
    assert sent(page)[1:] == [{"step": "image", "by": 1}]
    update(page, panel=drawn("stem", more={"facts": [], "histogram": histogram}), heard=2)
    expect(root.get_by_role("button", name="next image")).to_be_focused()
    root.locator("summary").click()
    page.wait_for_function("window.sent.length === 3")
    assert sent(page)[2:] == [{"more": False}]


def test_a_picture_gives_way_to_words_and_back(show, page):
    root = show(small(), value="stem", names=["stem"], panel=drawn("stem"))
    update(page, value="head", names=["head"], panel={"name": "head", "kind": "Linear", "says": "'head' never ran."})
    expect(root.locator(".featlab-line")).to_have_text("'head' never ran.")
    expect(root.get_by_role("img")).to_have_count(0)
    expect(root.locator("details")).to_be_hidden()
    update(page, panel=drawn("head"))
    expect(root.get_by_role("img", name="head as four bars")).to_be_visible()


def test_names_and_errors_are_text(show, page):
    evil = "<img src=x onerror=harmed=1>"
    root = show(nn.ModuleDict({evil: nn.ReLU()}), panel={"name": evil, "says": evil})
    expect(root.get_by_role("treeitem")).to_contain_text(evil)
    root.locator(".featlab-search").fill("<img")
    expect(root.locator("mark")).to_have_text("<img")
    assert page.evaluate("window.harmed") is None
    assert root.get_by_role("treeitem").locator("img").count() == 0


def test_a_kernel_that_does_not_answer_is_told_of_until_it_does(show, page):
    root = show(small())
    root.get_by_role("treeitem", name="head").click()
    expect(root.locator(".featlab-wait")).to_have_text("Looking…")
    expect(root.locator(".featlab-wait")).to_contain_text("run this cell again")
    update(page, heard=1)
    expect(root.locator(".featlab-wait")).to_be_empty()


def test_a_kernel_that_has_gone_is_told_of(show, page):
    root = show(small())
    page.evaluate("window.gone = true")
    root.get_by_role("treeitem", name="head").click()
    expect(root.locator(".featlab-wait")).to_have_text(
        "The kernel does not know this widget any more: run this cell again."
    )
    assert page.complaints == []


def test_a_new_tree_keeps_what_was_open(show, page):
    root = show(small())
    page.get_by_role("tree").focus()
    press(page, "ArrowDown", "ArrowLeft")
    update(page, tree=LayerPicker(nn.ModuleDict({**small(), "new": nn.ReLU()})).tree)
    assert rows(root) == ["stem", "body", "head", "new"]


def test_a_model_without_submodules_is_no_trouble(show, page):
    root = show(nn.ReLU())
    page.get_by_role("tree").focus()
    press(page, "ArrowDown", "Enter", "End", "ArrowLeft", "ArrowRight", "Space", "/", "x", "Enter", "Escape")
    expect(root.locator(".featlab-count")).to_have_text("0 submodules")
    assert sent(page) == []
    assert page.complaints == []


def test_a_closed_view_listens_no_more(show, page):
    show(small())
    assert page.evaluate("window.listening()") > 0
    page.evaluate("window.stop()")
    assert page.evaluate("window.listening()") == 0


def test_nothing_was_written_to_the_console(show, page):
    show(small(), value="stem", names=["stem"], panel=drawn("stem"))
    assert page.complaints == []
