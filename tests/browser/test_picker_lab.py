"""The layer picker in a real JupyterLab: searched, moved through and picked from, by keyboard and by mouse."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser.contrasts import pale
from browser.jupyter import THEMES, Lab, Notebook, in_theme, open_notebook, outline, write_notebook
from playwright.sync_api import Browser, Locator, expect

SETUP = """import torch, torchvision, featlab as fl
torch.manual_seed(0)
model = torchvision.models.resnet18().eval()
model.layer1.requires_grad_(False)
picture = fl.samples.photo(96)
picker = fl.LayerPicker(model, torch.cat([picture, picture.flip(-1)]))
picker"""


@pytest.fixture(scope="module")
def opened(chromium: Browser, lab: Lab) -> Iterator[Notebook]:
    with open_notebook(chromium, lab, write_notebook(lab, "picker", 3), workspace="picker") as notebook:
        yield notebook


@pytest.fixture
def shown(opened: Notebook) -> Notebook:
    """The notebook with a fresh picker in cell 1, and nothing picked."""
    opened.write(1, SETUP)
    opened.command("notebook:clear-all-cell-outputs")
    opened.run(1)
    expect(picker(opened).get_by_role("treeitem").first).to_be_visible()
    return opened


def picker(notebook: Notebook) -> Locator:
    return notebook.shown(1).locator(".featlab-picker")


def tree(notebook: Notebook) -> Locator:
    return picker(notebook).get_by_role("tree")


def says(notebook: Notebook, source: str) -> str:
    """What a cell with this source prints."""
    notebook.write(2, source)
    notebook.run(2)
    return notebook.text(2).strip()


def press(notebook: Notebook, *keys: str) -> None:
    for key in keys:
        notebook.page.keyboard.press(key)


def test_a_layer_is_searched_and_picked_by_keyboard_and_read_by_the_next_cell(shown: Notebook):
    tree(shown).focus()
    press(shown, "/")
    shown.page.keyboard.type("layer2 bn1")
    expect(picker(shown).get_by_role("treeitem")).to_have_count(2)
    press(shown, "ArrowDown", "ArrowDown", "Enter")
    expect(picker(shown).locator(".featlab-picked")).to_have_text("layer2.1.bn1")
    first = picker(shown).get_by_role("img")
    expect(first).to_have_attribute("alt", re.compile(r"Channels 0 to 63 of 128, image 0 of 2\. .*% zeros"))
    source = first.get_attribute("src")
    assert says(shown, "print(picker.value, tuple(picker.feature.shape))") == "layer2.1.bn1 (2, 128, 12, 12)"
    tree(shown).focus()
    press(shown, "Escape")
    expect(picker(shown).locator(".featlab-search")).to_have_value("")
    press(shown, "ArrowUp", "Enter")
    expect(picker(shown).locator(".featlab-picked")).to_have_text("layer2.1.conv1")
    assert first.get_attribute("src") != source


def test_no_key_typed_into_it_touches_the_notebook(shown: Notebook):
    before = outline(shown)
    keys = [*"ddxmyzabcv", "ArrowDown", "ArrowUp", "Delete", "Shift+Enter", "Home", "End"]
    tree(shown).focus()
    press(shown, *keys)
    press(shown, "/", *keys)
    expect(picker(shown).locator(".featlab-search")).not_to_have_value("")
    press(shown, "Escape", "Escape")
    assert outline(shown) == before


def test_escape_leads_back_to_the_cell(shown: Notebook):
    tree(shown).focus()
    press(shown, "Escape", "ArrowDown")
    assert shown.active == 2


def test_code_moves_the_widget(shown: Notebook):
    says(shown, 'picker.value = "layer4.1.conv2"')
    row = picker(shown).locator(".featlab-shown")
    expect(row).to_be_in_viewport()
    expect(row).to_contain_text("conv2")
    expect(picker(shown).get_by_role("img")).to_be_visible()
    assert "UnknownName" in says(shown, 'picker.value = "layer4.1.conv9"')
    expect(picker(shown).locator(".featlab-picked")).to_have_text("layer4.1.conv2")


def test_several_are_picked(shown: Notebook):
    for name in ("conv1", "layer1"):
        picker(shown).get_by_role("treeitem", name=f"{name}, ").first.click(modifiers=["Control"])
        expect(picker(shown).locator(".featlab-picked")).to_have_text(name)
    expect(picker(shown).locator(".featlab-count")).to_have_text("67 submodules · 2 picked")
    assert says(shown, "print(picker.names, list(picker.features))") == "['conv1', 'layer1'] ['conv1', 'layer1']"


def test_more_is_shown_on_request_and_images_are_stepped_through(shown: Notebook):
    picker(shown).get_by_role("treeitem", name="layer1, ").click()
    picker(shown).locator("summary").click()
    expect(picker(shown).get_by_role("img", name="Histogram from")).to_be_visible()
    expect(picker(shown).locator("dl")).to_contain_text("(2, 64, 24, 24) float32")
    picker(shown).get_by_role("button", name="next image").click()
    expect(picker(shown).locator(".featlab-step")).to_contain_text(["image 1 of 2"])
    picker(shown).get_by_role("treeitem", name="conv1, ").first.click()
    expect(picker(shown).locator("> .featlab-sides .featlab-panel > .featlab-caption")).to_contain_text("image 1 of 2")


def test_an_error_of_the_model_shows_in_the_widget_and_harms_nothing(shown: Notebook):
    shown.write(1, SETUP.replace("picture.flip(-1)])", "picture.flip(-1)])[:, :1]"))
    shown.run(1)
    expect(picker(shown).get_by_role("alert")).to_contain_text("RuntimeError in conv1 (Conv2d)")
    picker(shown).get_by_role("treeitem", name="layer1, ").click()
    expect(picker(shown).locator(".featlab-says")).to_contain_text("RuntimeError in conv1 (Conv2d)")
    assert says(shown, "print(picker.value)") == "layer1"


def test_after_a_restart_the_widget_says_what_to_do(shown: Notebook):
    shown.restart()
    picker(shown).get_by_role("treeitem", name="layer1, ").click()
    expect(picker(shown).locator(".featlab-wait")).to_contain_text("run this cell again")


@pytest.mark.parametrize("theme", THEMES)
def test_it_can_be_read(shown: Notebook, theme: str, shots: Path):
    with in_theme(shown, theme):
        picker(shown).get_by_role("treeitem", name="layer1, ").click()
        expect(picker(shown).get_by_role("img")).to_be_visible()
        picker(shown).locator("summary").click()
        expect(picker(shown).get_by_role("img", name="Histogram from")).to_be_visible()
        shown.shoot(shots / f"picker-{theme}.png")
        assert pale(picker(shown)) == []
        tree(shown).focus()
        press(shown, "/")
        shown.page.keyboard.type("bn")
        assert pale(picker(shown)) == []
        shown.shoot(shots / f"picker-search-{theme}.png")
    assert shown.page.complaints == []
