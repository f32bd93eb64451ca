"""The mode inspector in a real JupyterLab: it switches the kernel's model, and follows what cells do to it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser.contrasts import pale
from browser.jupyter import THEMES, Lab, Notebook, in_theme, open_notebook, outline, write_notebook
from playwright.sync_api import Browser, Locator, expect

SETUP = """import torch, torchvision, featlab as fl
model = torchvision.models.resnet18().train()
model.layer1.requires_grad_(False)
optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=0.1)
inspector = fl.ModeInspector(model, optimizer=optimizer)
inspector"""
LARGE = """model = torch.nn.Sequential(*(torchvision.models.resnet.BasicBlock(4, 4) for _ in range(266)))
inspector = fl.ModeInspector(model)
inspector"""
EXTRACTOR = """model = torchvision.models.resnet18().train()
extractor = fl.extractor(model, "layer2", way="fx")
inspector = fl.ModeInspector(extractor, original=model)
inspector"""
# milliseconds from a click on a button to the tree that shows its effect
ROUND_TRIP = """async root => {
  const start = performance.now();
  root.querySelector('[data-act="eval"]').click();
  while (!root.querySelector('.featlab-row .featlab-mode').textContent.startsWith('○')) {
    await new Promise(requestAnimationFrame);
    if (performance.now() - start > 20000) break;
  }
  return performance.now() - start;
}"""


@pytest.fixture(scope="module")
def opened(chromium: Browser, lab: Lab) -> Iterator[Notebook]:
    with open_notebook(chromium, lab, write_notebook(lab, "inspector", 4), workspace="inspector") as notebook:
        yield notebook


@pytest.fixture
def shown(opened: Notebook) -> Notebook:
    return show(opened, SETUP)


def show(notebook: Notebook, source: str) -> Notebook:
    """Run a cell with an inspector in cell 1."""
    notebook.write(1, source)
    notebook.command("notebook:clear-all-cell-outputs")
    notebook.run(1)
    expect(inspector(notebook).get_by_role("treeitem").first).to_be_visible()
    return notebook


def inspector(notebook: Notebook) -> Locator:
    return notebook.shown(1).locator(".featlab-inspector")


def row(notebook: Notebook, name: str) -> Locator:
    return inspector(notebook).get_by_role("treeitem", name=f"{name}, ")


def says(notebook: Notebook, source: str) -> str:
    notebook.write(2, source)
    notebook.run(2)
    return notebook.text(2).strip()


@pytest.mark.parametrize("width, beside", [(1280, True), (920, False)])
def test_what_is_picked_is_seen_beside_the_tree_and_no_cell_is_cut_off_at_the_edge(shown, width, beside):
    show(shown, EXTRACTOR.replace("inspector =", "extractor.eval()\ninspector =", 1))
    usual = shown.page.viewport_size
    shown.page.set_viewport_size({"width": width, "height": 800})
    row(shown, "layer1").click()
    switch = inspector(shown).get_by_role("button", name="eval layer1")
    expect(switch).to_be_visible()
    tree = inspector(shown).locator(".featlab-frame").bounding_box()
    assert (switch.bounding_box()["x"] > tree["x"] + tree["width"]) == beside
    edges = (
        inspector(shown)
        .locator(".featlab-row > :last-child")
        .evaluate_all("all => all.map(one => one.getBoundingClientRect().right)")
    )
    assert max(edges) <= tree["x"] + tree["width"]
    shown.page.set_viewport_size(usual)


def test_a_subtree_is_switched_by_mouse_and_the_kernel_s_model_follows(shown: Notebook):
    row(shown, "layer2").click()
    inspector(shown).get_by_role("button", name="eval layer2").click()
    expect(row(shown, "layer2")).to_have_accessible_name(re.compile("○ eval"))
    expect(row(shown, "the model itself")).to_have_accessible_name(re.compile("mixed below"))
    assert says(shown, "print(fl.modes(model).summary)") == "mixed: 52 train, 16 eval"
    inspector(shown).get_by_role("button", name="unfreeze layer2").click()
    inspector(shown).get_by_role("button", name="train layer2").click()
    expect(row(shown, "layer2")).to_have_accessible_name(re.compile("● train"))
    assert says(shown, "print(fl.modes(model).summary)") == "all 68 train"


def test_a_cell_that_switches_an_extractor_is_marked(shown: Notebook):
    show(shown, EXTRACTOR)
    expect(inspector(shown).locator(".featlab-warning")).to_contain_text(
        "would switch 26 of 68 modules and 10 of 20 norms"
    )
    expect(row(shown, "conv1")).to_have_accessible_name(re.compile("● train ⇄"))
    says(shown, "_ = extractor.eval()")
    expect(row(shown, "conv1")).to_have_accessible_name(re.compile("○ eval was train"))
    expect(inspector(shown).locator(".featlab-warning")).to_contain_text("eval() of the extractor would switch 0 of 68")
    expect(inspector(shown).get_by_role("status").filter(has_text="changed since the last look")).to_be_visible()
    expect(inspector(shown).locator(".featlab-title")).to_contain_text("eval-inside-train")


def test_a_finding_stands_beside_its_row_with_the_line_that_mends(shown: Notebook):
    row(shown, "layer1").click()
    tree = inspector(shown).get_by_role("tree")
    tree.focus()
    shown.page.keyboard.press("/")
    shown.page.keyboard.type("layer1.0.bn1")
    shown.page.keyboard.press("Enter")
    card = inspector(shown).locator(".featlab-finding-card")
    expect(card).to_contain_text("▲ warning: frozen-statistics-move")
    remedy = card.locator("code").inner_text()
    assert says(shown, f"{remedy}\nprint(fl.audit(model, optimizer=optimizer))") == "Nothing found."
    expect(card).to_have_count(0)


def test_filters_show_norms_and_dropouts_or_what_disagrees(shown: Notebook):
    inspector(shown).locator("summary").click()
    inspector(shown).get_by_role("button", name="only BatchNorm and Dropout").click()
    expect(inspector(shown).locator(".featlab-count")).to_have_text("20 of 68 submodules match")
    says(shown, "_ = model.layer3.eval()")
    inspector(shown).get_by_role("button", name="only what disagrees with its parent").click()
    expect(inspector(shown).get_by_role("treeitem")).to_have_count(1)
    expect(row(shown, "layer3")).to_be_visible()
    inspector(shown).get_by_role("button", name="all", exact=True).click()
    expect(inspector(shown).locator(".featlab-count")).to_have_text("68 submodules")


def test_no_key_typed_into_it_touches_the_notebook(shown: Notebook):
    before = outline(shown)
    inspector(shown).get_by_role("tree").focus()
    for key in [*"ddxmyabcv", "ArrowDown", "ArrowUp", "Delete", "Home", "End", "/", *"dd"]:
        shown.page.keyboard.press(key)
    assert outline(shown) == before


def test_a_toggle_is_soon_on_the_screen_with_1600_modules(shown: Notebook, shots: Path):
    show(shown, LARGE)
    row(shown, "the model itself").click()
    expect(inspector(shown).locator('[data-act="eval"]')).to_be_visible()
    took = inspector(shown).evaluate(ROUND_TRIP)
    (shots / "inspector-toggle.txt").write_text(f"{took:.0f} ms from click to paint, 1,597 modules\n")
    assert took < 5000  # the figure itself belongs to `make bench`
    assert says(shown, "print(fl.modes(model).summary)") == "all 1597 eval"


def test_a_closed_inspector_follows_no_more(shown: Notebook):
    count = "print(len(get_ipython().events.callbacks['post_run_cell']))"
    before = int(says(shown, count))
    assert int(says(shown, f"inspector.close()\n{count}")) == before - 1


@pytest.mark.parametrize("theme", THEMES)
def test_it_can_be_read_and_has_nothing_serious_against_it(shown: Notebook, theme: str, shots: Path):
    with in_theme(shown, theme):
        says(shown, "_ = model.layer3.eval()")
        row(shown, "bn1").click()
        shown.shoot(shots / f"inspector-{theme}.png")
        assert pale(inspector(shown)) == []
        found = Axe().run(shown.page, context=".featlab-inspector").response["violations"]
        assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
    assert shown.page.complaints == []
