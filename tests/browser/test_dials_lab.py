"""Dials in a real JupyterLab: turned by keyboard, the picture and its words follow."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser.contrasts import pale
from browser.jupyter import THEMES, Lab, Notebook, in_theme, open_notebook, outline, write_notebook
from playwright.sync_api import Browser, Locator, expect

SETUP = """import torch, featlab as fl
from torch import nn
x, labels = torch.randn(20, 8), torch.arange(20) % 3
def show(depth, gain):
    layers = [part for _ in range(depth) for part in (nn.Linear(8, 8), nn.ReLU())]
    net = nn.Sequential(*layers, nn.Linear(8, 3))
    for layer in net[::2]:
        nn.init.normal_(layer.weight, std=gain)
    return fl.signals.draw({"net": fl.signals.measure(net, x, labels)}), f"{depth} layers, gain {gain}"
def named(depth, gain, kind):
    figure, words = show(depth, gain)
    return figure, f"{kind}: {words}"
dials = fl.dials.Dials(named, show(5, 1.0), depth=[5, 10, 20], gain=[1.0, 0.5], kind=["one", "two"])
dials"""


@pytest.fixture(scope="module")
def shown(chromium: Browser, lab: Lab) -> Iterator[Notebook]:
    with open_notebook(chromium, lab, write_notebook(lab, "dials", 3), workspace="dials") as notebook:
        notebook.write(1, SETUP)
        notebook.run(1)
        expect(dial(notebook, "slider", "depth")).to_be_visible()
        yield notebook


def dial(notebook: Notebook, role: str, name: str) -> Locator:
    return notebook.shown(1).get_by_role(role, name=name)


def says(notebook: Notebook, words: str) -> None:
    """Wait until the sentence below the picture, and the picture's alt text, are these words."""
    expect(notebook.shown(1).get_by_role("status")).to_have_text(words)
    expect(notebook.shown(1).get_by_role("img")).to_have_attribute("alt", words)


def test_keys_turn_a_dial_and_touch_no_cell(shown: Notebook):
    shown.write(2, "dials.turn(depth=5, gain=1.0, kind='one')")
    shown.run(2)
    before = outline(shown)[0]
    slider = dial(shown, "slider", "depth")
    slider.focus()
    for key in ("ArrowRight", "d", "d", "x", "ArrowRight"):
        shown.page.keyboard.press(key)
    says(shown, "one: 20 layers, gain 1.0")
    expect(slider).to_have_attribute("aria-valuetext", "20")
    dial(shown, "combobox", "kind").select_option("two")
    says(shown, "two: 20 layers, gain 1.0")
    assert outline(shown)[0] == before
    shown.write(2, "dials.chosen")
    shown.run(2)
    assert shown.text(2) == "{'depth': 20, 'gain': 1.0, 'kind': 'two'}"


def test_code_turns_a_dial_too(shown: Notebook):
    shown.write(2, "dials.turn(depth=10, gain=0.5, kind='one')")
    shown.run(2)
    says(shown, "one: 10 layers, gain 0.5")
    expect(dial(shown, "slider", "depth")).to_have_attribute("aria-valuetext", "10")


@pytest.mark.parametrize("theme", THEMES)
def test_dials_are_accessible_and_readable_in_both_themes(shown: Notebook, theme: str, shots: Path):
    with in_theme(shown, theme):
        shown.shoot(shots / f"dials-{theme}.png")
        assert pale(shown.shown(1).locator(".jp-OutputArea-output")) == []
        found = Axe().run(shown.page, context=".jp-OutputArea-output").response["violations"]
        assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
    assert shown.page.complaints == []
