"""The dials, turned through Python as a browser would turn them."""

import base64

import matplotlib.pyplot as plt
import pytest

from featlab.dials import Dials

VIEW = "application/vnd.jupyter.widget-view+json"


def figure():
    return plt.subplots(figsize=(1, 1))[0]


@pytest.fixture
def turned() -> list[dict]:
    return []


@pytest.fixture
def dials(turned) -> Dials:
    def show(**chosen):
        turned.append(chosen)
        if chosen["depth"] == 0:
            raise ZeroDivisionError("no <layers>")
        return figure(), f"depth {chosen['depth']} & more"

    return Dials(show, (figure(), "the sweep in words"), depth=[5, 20, 0], gain=[1.0, 2**0.5])


def test_the_first_of_each_is_chosen_to_begin_with(dials, turned):
    assert turned == [{"depth": 5, "gain": 1.0}] and dials.chosen == turned[0]
    assert dials.says == "depth 5 & more"


def test_turning_one_draws_anew_and_says_the_same_in_words(dials, turned):
    dials["depth"].value = 20
    assert turned[-1] == {"depth": 20, "gain": 1.0}
    shown = dials._picture.value
    assert 'alt="depth 20 &amp; more"' in shown and '<p role="status">depth 20 &amp; more</p>' in shown
    assert base64.b64decode(shown.split("base64,")[1].split('"')[0])[:4] == b"\x89PNG"


def test_an_error_is_shown_in_the_widget_and_the_next_turn_works(dials):
    dials["depth"].value = 0
    assert "ZeroDivisionError: no &lt;layers&gt;" in dials._picture.value and "<img" not in dials._picture.value
    dials["depth"].value = 5
    assert "<img" in dials._picture.value


def test_without_a_kernel_the_sweep_stands_there(dials):
    faces = dials._repr_mimebundle_()
    assert set(faces) == {VIEW, "text/plain", "image/png"}
    assert base64.b64decode(faces["image/png"])[:4] == b"\x89PNG"
    assert faces["text/plain"] == "Dials, live in a notebook: depth (5, 20, 0), gain (1, 1.41)\nthe sweep in words"


def test_no_figure_stays_open(dials):
    before = plt.get_fignums()
    dials["gain"].value = 2**0.5
    assert plt.get_fignums() == before


@pytest.mark.parametrize("choices", [{}, {"depth": []}])
def test_nothing_to_choose_is_refused(choices):
    with pytest.raises(ValueError, match="nothing to choose"):
        Dials(lambda: None, (figure(), ""), **choices)
    plt.close("all")
