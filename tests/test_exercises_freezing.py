"""Lesson 07's exercises: its folded solutions are accepted, typical wrong answers are told apart."""
# ruff: noqa: E501 - one line of the table is one wrong answer

import json
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import featlab as fl
from featlab import exercises, practice

LESSON = "07_frozen_or_finetuned"
CELLS = json.loads(Path(__file__).parents[1].joinpath("notebooks", f"{LESSON}.ipynb").read_text("utf-8"))["cells"]
NAMES = ["for_five", "head_on_cache", "hold_still", "freeze_now"]


def cell(tag: str) -> str:
    (found,) = [c for c in CELLS if tag in c["metadata"].get("tags", [])]
    return "".join(found["source"])


def solution(name: str) -> str:
    return re.search(r"```python\n(.*?)```", cell(f"solution:{name}"), re.S)[1]


def checked(name: str, source: str):
    names = {"torch": torch, "F": F, "nn": nn, "fl": fl}
    exec(source, names)
    return practice.check(name, names[name])


@pytest.fixture(autouse=True)
def kernel(monkeypatch, tmp_path):
    monkeypatch.setattr(practice, "_lessons", {})
    monkeypatch.chdir(tmp_path)
    practice.begin(LESSON)


def test_the_lesson_has_these_exercises_in_this_order():
    assert {exercise.name for exercise in exercises.of_lesson(LESSON)} == set(NAMES)
    tags = [tag for c in CELLS for tag in c["metadata"].get("tags", [])]
    assert [tag for tag in tags if tag.startswith("exercise:")] == [f"exercise:{name}" for name in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_the_folded_solution_is_accepted_twice_in_a_row(name):
    for _ in range(2):
        verdict = checked(name, solution(name))
        assert verdict and verdict.message, verdict.message


@pytest.mark.parametrize("name", NAMES)
def test_a_blank_is_not_tried_yet(name):
    assert checked(name, cell(f"exercise:{name}").rpartition("practice.check(")[0]).status == "not tried yet"


SLOW = "\n".join(
    [
        "def head_on_cache(backbone, images, labels):",
        "    head = nn.Linear(32, 5)",
        "    for _ in range(30):",
        "        with torch.no_grad(), fl.evaluating(backbone):",
        "            table = backbone(images)",
        "    return head",
    ]
)
# exercise, what is changed in the solution, into what, what the check says then
WRONG = [
    ("for_five", "    fl.freeze(net)\n", "", "parameters besides the head require grad"),
    ("for_five", "fl.freeze(net)", "net.requires_grad_(False)", "buffers have moved"),
    ("for_five", "nn.Linear(32, classes)", "nn.Linear(32, 9)", "tells 9 classes apart"),
    ("for_five", "nn.Linear(32, classes)\n", "nn.Linear(32, classes)\n    net.requires_grad_(False)\n", "The new head is frozen, too"),
    ("for_five", "SGD(net.head.linear.parameters()", "SGD(net.stem.parameters()", "does not hold the new head"),
    ("for_five", "return net, torch", "return torch", "two are asked"),
    ("for_five", "    net.head.linear = nn.Linear(32, classes)\n    return net, torch.optim.SGD(net.head.linear.parameters(), lr=0.1)", "    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)\n    net.head.linear = nn.Linear(32, classes)\n    return net, optimizer", "does not hold the new head"),
    ("for_five", "lr=0.1", "lr=0.0", "has not learned"),
    ("head_on_cache", ", fl.evaluating(backbone)", "", "computed in train mode"),
    ("head_on_cache", ", fl.evaluating(backbone):\n        table", ":\n        backbone.eval()\n        table", "is in another now"),
    ("head_on_cache", "    for _ in range(300):\n", "    for _ in range(300):\n        table = backbone.eval()(images)\n", "Compute the features once"),
    ("head_on_cache", "range(300)", "range(1)", "Train longer"),
    ("head_on_cache", "table = backbone(images)", "table = torch.zeros(len(images), 32)", "Nothing went through the backbone"),
    ("head_on_cache", "return head", "return table", "an nn.Module, is asked"),
    ("head_on_cache", "    return head\n", "", "Is a `return` missing"),
    ("head_on_cache", "optimizer.step()", "pass", "Train longer"),
    ("head_on_cache", solution("head_on_cache"), SLOW, "Compute the features once"),
    ("hold_still", "module.requires_grad_(False).eval()", "module.eval()", "parameters have moved"),
    ("hold_still", "    module.train = lambda mode=True: module\n", "", "buffers have moved"),
    ("hold_still", ".requires_grad_(False).eval()", ".requires_grad_(False)", "buffers have moved"),
    ("hold_still", "return module", "return None", "Is a `return` missing"),
    ("hold_still", "lambda mode=True: module", "lambda mode=True: nn.Module.train(module, mode)", "buffers have moved"),
    ("hold_still", "module.requires_grad_(False).eval()", "module.requires_grad = False; module.eval()", "parameters have moved"),
    ("hold_still", "    return module\n", "    return 3\n", "the module is asked"),
    ("hold_still", "lambda mode=True: module", "lambda: module", "TypeError"),
    ("freeze_now", "fl.freeze(module)", "module.requires_grad_(False)", "have moved"),
    ("freeze_now", "fl.freeze(module)", "module.requires_grad_(False).eval()", "parameters have moved"),
    ("freeze_now", "fl.freeze(module)", "module.requires_grad_(False); optimizer.zero_grad(set_to_none=False)", "parameters have moved"),
    ("freeze_now", "fl.freeze(module)", "module.requires_grad_(False); optimizer.zero_grad()", "buffers have moved"),
    ("freeze_now", "fl.freeze(module)", "module.eval()", "parameters have moved"),
    ("freeze_now", "fl.freeze(module)", "module.requires_grad = False", "parameters have moved"),
    ("freeze_now", "fl.freeze(module)", "fl.freeze(module); optimizer.param_groups.clear()", "has not learned"),
    ("freeze_now", "fl.freeze(module)", "[p.detach_() for p in module.parameters()]", "have moved"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "old", "new", "said"), WRONG, ids=[f"{name}-{n}" for n, (name, *_) in enumerate(WRONG)]
)
def test_a_wrong_answer_is_told_what_is_wrong(name, old, new, said):
    source = solution(name)
    assert old in source
    verdict = checked(name, source.replace(old, new))
    assert verdict.status == "not yet" and said in verdict.message, verdict
