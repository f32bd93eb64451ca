"""The dials, turned through Python as a browser would turn them."""

import base64

import matplotlib.pyplot as plt
import pytest

from featlab.dials import Dials

VIEW = "application/vnd.jupyter.widget-view+json"


def figure():
    return plt.subplots(figsize=(1, 1))[0]


@pytest.fixture
def drawn() -> list[dict]:
    return []


@pytest.fixture
def dials(drawn) -> Dials:
    def show(**chosen):
        drawn.append(chosen)
        if chosen["depth"] == 0:
            raise ZeroDivisionError("no layers")
        return figure(), f"depth {chosen['depth']}"

    return Dials(show, (figure(), "the sweep in words"), depth=[5, 20, 0], gain=[1.0, 2**0.5], kind=["a", "b"])


def hand(dials: Dials, *at) -> None:
    """Send what the browser sends when a dial is turned."""
    dials._handle_custom_msg({"turn": list(at)}, [])


def test_the_first_of_each_is_chosen_to_begin_with(dials, drawn):
    assert drawn == [{"depth": 5, "gain": 1.0, "kind": "a"}] and dials.chosen == drawn[0]
    assert dials.says == "depth 5" and dials.picture[:4] == b"\x89PNG"
    assert [one["numeric"] for one in dials.choices] == [True, True, False]
    assert [one["labels"] for one in dials.choices] == [["5", "20", "0"], ["1", "1.41"], ["a", "b"]]


def test_a_hand_on_a_dial_draws_anew_and_says_the_same_in_words(dials, drawn):
    before = dials.picture
    hand(dials, 1, 1, 0)
    assert drawn[-1] == dials.chosen == {"depth": 20, "gain": 2**0.5, "kind": "a"}
    assert dials.says == "depth 20" and dials.heard == 1 and dials.picture[:4] == before[:4]


def test_code_turns_a_dial_too_and_a_value_it_does_not_have_is_refused(dials):
    dials.turn(depth=20, kind="b")
    assert dials.chosen == {"depth": 20, "gain": 1.0, "kind": "b"} and dials.says == "depth 20"
    with pytest.raises(ValueError, match="no depth 7; the dials have"):
        dials.turn(gain=2**0.5, depth=7)
    with pytest.raises(ValueError, match="no width 5"):
        dials.turn(width=5)
    assert dials.chosen == {"depth": 20, "gain": 1.0, "kind": "b"}


@pytest.mark.parametrize("sent", [[9, 0, 0], [0], [0, 0, "a"], [-1, 0, 0], None, "1"])
def test_what_is_no_turn_changes_nothing_and_is_answered(dials, drawn, sent):
    dials._handle_custom_msg({"turn": sent}, [])
    assert len(drawn) == 1 and dials.at == [0, 0, 0] and dials.heard == 1


def test_an_error_is_shown_in_the_widget_and_the_next_turn_works(dials):
    hand(dials, 2, 0, 0)
    assert dials.says == "ZeroDivisionError: no layers" and dials.picture == b""
    hand(dials, 0, 0, 0)
    assert dials.says == "depth 5" and dials.picture


def test_without_a_kernel_the_sweep_stands_there(dials):
    faces, _ = dials._repr_mimebundle_()
    assert set(faces) == {VIEW, "text/plain", "image/png"}
    assert base64.b64decode(faces["image/png"])[:4] == b"\x89PNG"
    dialled = "depth (5, 20, 0), gain (1, 1.41), kind (a, b)"
    assert faces["text/plain"] == f"Dials, live in a notebook: {dialled}\nthe sweep in words"


def test_no_figure_stays_open(dials):
    before = plt.get_fignums()
    hand(dials, 1, 0, 0)
    assert plt.get_fignums() == before


@pytest.mark.parametrize("choices", [{}, {"depth": []}])
def test_nothing_to_choose_is_refused(choices):
    with pytest.raises(ValueError, match="nothing to choose"):
        Dials(lambda: None, (None, ""), **choices)
