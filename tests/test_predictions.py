"""One question, its locked answer, and the comparison with what came out."""

import re
from html import unescape

import numpy as np
import pytest
import torch

from featlab.faces import as_html
from featlab.predictions import Prediction


def ask(mine=..., options=None) -> Prediction:
    """Return a question about memory, answered when `mine` is given."""
    options = {1.0: "still 1", 9.0: "`9` as well"} if options is None else options
    asked = Prediction("w", "What does `t[0]` hold after `a[0] = 9`?", options, unit="", within=0)
    if mine is not ...:
        asked.lock(mine)
    return asked


def ask_number(mine=..., *, unit="%") -> Prediction:
    """Return a question for a number, answered when `mine` is given."""
    asked = Prediction("n", "How many digits are right?", None, unit=unit, within=5)
    if mine is not ...:
        asked.lock(mine)
    return asked


def html_words(shown) -> list[str]:
    """Return the lines of an HTML face as a reader sees them."""
    rows = re.findall(r"<div>(.*?)</div>", shown._repr_html_())
    return [unescape(re.sub(r"</?(code|strong|small)>", "", row)) for row in rows]


def test_an_open_question_shows_its_options_and_both_ways_to_answer():
    text = repr(ask())
    assert "What does t[0] hold after a[0] = 9?" in text
    assert "  a) still 1\n  b) 9 as well\n" in text
    assert "click one" in text
    assert 'mine="a"' in text
    assert "a number (%)" in repr(ask_number())


@pytest.mark.parametrize("mine", ["b", "B", " b) ", 9.0, 9, torch.tensor(9.0), np.float32(9)])
def test_a_letter_or_the_outcome_itself_locks_an_option(mine):
    asked = ask(mine)
    assert (asked.state, asked.guess, asked.chosen) == ("locked", 9.0, "b")
    assert repr(asked).endswith("Locked: b) 9 as well")


@pytest.mark.parametrize("mine", [21, 21.0, "21", " 21 % ", np.int64(21), torch.tensor(21)])
def test_a_number_locks_as_it_was_meant(mine):
    assert repr(ask_number(mine)).endswith("Locked: 21 %")


@pytest.mark.parametrize("mine", ["c", "ab", 7, [9], torch.zeros(3), np.zeros(3), "<b>"])
def test_what_is_no_option_locks_nothing_and_says_so(mine):
    asked = ask(mine)
    assert asked.state == "open"
    assert "is none of a, b. Nothing is locked yet." in repr(asked) or "One value can be compared" in repr(asked)


@pytest.mark.parametrize("mine", ["many", "1,000", float("nan"), float("inf"), 10**400, True, [3], torch.zeros(2)])
def test_what_is_no_number_locks_nothing_and_says_so(mine):
    asked = ask_number(mine)
    assert asked.state == "open"
    assert "is not a number. Nothing is locked yet." in repr(asked)


def test_a_locked_prediction_refuses_another():
    asked = ask("a")
    asked.lock("b")
    assert "A locked prediction stays as it is; b) 9 as well came too late." in repr(asked)
    assert repr(asked).endswith("Locked: a) still 1")
    asked.lock("a")
    assert "too late" not in repr(asked)


def test_numbers_are_written_with_few_digits_and_whole_ones_in_full():
    for value, shown in [(0.123456, "0.1235"), (123456789, "123456789"), (12345.678, "12346"), (-0.5, "-0.5")]:
        assert repr(ask_number(value, unit="")).endswith(f"Locked: {shown}")


def test_text_and_html_say_the_same():
    odd = ask(options={1.0: "<script>alert(1)</script> & 'so'", 9.0: "an odd ` backtick"})
    shown = [odd, ask(), ask("x"), ask("b"), ask("b").settle(9.0), ask_number(20), ask_number(20).settle(22.5)]
    for face in shown:
        assert "\n".join(html_words(face)) == repr(face)


def test_backticks_become_code_and_markup_stays_text():
    html = ask(options={True: "`a < b`", False: "<b>no</b>"})._repr_html_()
    assert "<code>a &lt; b</code>" in html
    assert "<b>" not in html


def test_a_right_prediction_is_shown_beside_the_outcome():
    assert repr(ask("b").settle(9.0)).splitlines() == [
        "What does t[0] hold after a[0] = 9?",
        "You predicted: b) 9 as well",
        "It is: b) 9 as well",
        "✓ right",
    ]


def test_the_verdict_stands_out_and_the_question_steps_back_whatever_the_verdict():
    for comparison in (ask("b").settle(9.0), ask("a").settle(9.0), ask().settle(9.0), ask_number(20).settle(22.5)):
        html, verdict = comparison._repr_html_(), repr(comparison).splitlines()[-1]
        assert html.endswith(f"<div><strong>{verdict}</strong></div></div>")
        assert re.findall(r"<div><small>(.*?)</small></div>", html) == [as_html(comparison.prediction.question)]


def test_a_wrong_prediction_is_no_error():
    comparison = ask("a").settle(9.0)
    assert comparison.right is False
    assert repr(comparison).endswith("✗ not this time")


def test_without_a_prediction_the_outcome_is_shown_and_the_question_closed():
    asked = ask()
    comparison = asked.settle(9.0)
    assert comparison.right is None
    assert "It is: b) 9 as well\n○ no prediction made" in repr(comparison)
    asked.lock("b")
    assert asked.state == "closed"
    assert repr(asked).endswith(
        "The result is known, so this prediction is closed. Restart the kernel to guess afresh."
    )
    assert asked.settle(9.0).right is None


@pytest.mark.parametrize("outcome", [9, np.float32(9), np.array([9.0]), torch.tensor(9), torch.tensor([[9.0]])])
def test_outcomes_come_as_numbers_scalars_or_one_element_tensors(outcome):
    assert ask("b").settle(outcome).right


@pytest.mark.parametrize(
    ("options", "outcome"),
    [
        ({True: "yes", False: "no"}, np.bool_(True)),
        ({True: "yes", False: "no"}, torch.tensor(True)),
        ({0.1: "a tenth", 0.2: "more"}, torch.tensor(0.1)),
        ({float("nan"): "nan", 0.0: "zero"}, torch.tensor(float("nan"))),
        ({(2, 3): "2 × 3", (3, 2): "3 × 2"}, torch.zeros(2, 3).shape),
        ({torch.float64: "float64", torch.float32: "float32"}, torch.float64),
        ({"copies": "it copies", "shares": "it shares"}, "copies"),
        ({16777216.0: "not one more", 16777217.0: "one more"}, 16777216.0),
    ],
)
def test_an_outcome_finds_its_option(options, outcome):
    assert ask("a", options).settle(outcome).right is True
    assert ask("b", options).settle(outcome).right is False


def test_an_outcome_that_is_no_option_is_the_authors_error():
    with pytest.raises(ValueError, match=r"outcome of 'w' is 3.0, which is no option. Options: 1.0 \(still 1\)"):
        ask("b").settle(3.0)
    with pytest.raises(ValueError, match=r"One value can be compared, not Tensor of shape \(2,\)"):
        ask("b").settle(torch.zeros(2))
    for outcome in ("many", True, None):
        with pytest.raises(ValueError, match=f"'n' asks for a number, and the outcome is '?{outcome}"):
            ask_number(3).settle(outcome)


@pytest.mark.parametrize(
    ("guess", "verdict"),
    [
        (21.4, "✓ right"),
        (20, "✓ right, off by 1.4 % (within 5 % counts as right)"),
        (90, "✗ not this time, off by 68.6 % (within 5 % counts as right)"),
    ],
)
def test_a_number_is_judged_by_how_far_off_it_is(guess, verdict):
    assert repr(ask_number(guess).settle(21.4)).splitlines()[1:] == [
        f"You predicted: {guess} %",
        "It is: 21.4 %",
        verdict,
    ]
