"""The clickable prediction, driven through Python as a browser would drive it."""

import sys

import pytest

from featlab.predictions import Prediction
from featlab.questions import Question

VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def asked() -> Prediction:
    return Prediction("w", "What does `t[0]` hold?", {1.0: "still 1", 9.0: "`9` as well"}, unit="", within=0)


@pytest.fixture
def counted() -> Prediction:
    return Prediction("n", "How many?", None, unit="%", within=5)


def click(question: Question, answer) -> None:
    """Send what the browser sends when an answer is chosen."""
    question._handle_custom_msg({"lock": answer}, [])


def test_the_widget_shows_what_the_prediction_asks(asked):
    question = Question(asked)
    assert question.question == "What does `t[0]` hold?"
    assert question.options == ["still 1", "`9` as well"]
    assert (question.numeric, question.state, question.chosen) == (False, "open", "")
    assert question.status == asked.status()


def test_one_click_locks_and_a_second_one_is_refused(asked):
    question = Question(asked)
    click(question, "b")
    assert asked.guess == 9.0
    assert (question.state, question.chosen, question.status) == ("locked", "b", "Locked: b) `9` as well")
    click(question, "a")
    assert asked.guess == 9.0
    assert (question.state, question.chosen) == ("locked", "b")
    assert question.status == "A locked prediction stays as it is; a) still 1 came too late. Locked: b) `9` as well"
    assert question.heard == 2


def test_a_number_from_the_field_locks(counted):
    question = Question(counted)
    assert (question.numeric, question.unit) == (True, "%")
    click(question, "21.5")
    assert counted.guess == 21.5
    assert (question.chosen, question.status) == ("21.5", "Locked: 21.5 %")


@pytest.mark.parametrize("sent", ["", "many", None, {"no": 1}, [1, 2]])
def test_what_is_no_answer_locks_nothing_and_is_answered(asked, counted, sent):
    for prediction in (asked, counted):
        question = Question(prediction)
        click(question, sent)
        assert prediction.state == question.state == "open"
        assert "Nothing is locked yet." in question.status
        assert question.heard == 1


def test_messages_of_another_kind_are_left_alone(asked):
    question = Question(asked)
    for content in ({}, {"kind": "other"}, [], "lock"):
        question._handle_custom_msg(content, [])
    assert (asked.state, question.heard) == ("open", 0)


def test_a_prediction_typed_later_shows_in_the_widget(asked):
    asked._repr_mimebundle_()
    asked.lock("a")
    assert (asked._live.state, asked._live.chosen) == ("locked", "a")


def test_the_widget_closes_when_the_result_came_first(asked):
    asked._repr_mimebundle_()
    asked.settle(9.0)
    click(asked._live, "b")
    assert asked.guess is None
    assert asked._live.state == "closed"
    assert asked._live.status.startswith("The result is known")


def test_a_click_is_told_to_who_keeps_the_record(asked):
    told = []
    asked.on_lock = lambda prediction: told.append(prediction.guess)
    click(Question(asked), "b")
    assert told == [9.0]


def test_the_bundle_holds_all_three_faces_and_no_address(asked):
    data, _ = asked._repr_mimebundle_()
    assert data.keys() == {"text/plain", "text/html", VIEW}
    assert data["text/plain"] == repr(asked) == repr(asked._live)
    assert data["text/html"] == asked._repr_html_()
    assert "0x" not in data["text/plain"] + data["text/html"]


def test_shown_twice_it_is_one_widget(asked):
    models = {asked._repr_mimebundle_()[0][VIEW]["model_id"] for _ in range(2)}
    assert len(models) == 1


def test_without_widgets_the_static_faces_remain(asked, monkeypatch):
    monkeypatch.setitem(sys.modules, "featlab.questions", None)
    data, metadata = asked._repr_mimebundle_()
    assert data.keys() == {"text/plain", "text/html"}
    assert metadata == {}
