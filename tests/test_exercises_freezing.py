"""Lesson 07's exercises: typical wrong answers are told apart, other right ones accepted."""
# ruff: noqa: E501 - one line of the table is one wrong answer

import folded
import pytest

LESSON = "07_frozen_or_finetuned"
kernel = folded.kernel(LESSON)
NAMES = ["for_five", "head_on_cache", "hold_still", "freeze_now"]


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
    ("head_on_cache", ", fl.evaluating(backbone):\n        table", ":\n        backbone.eval()\n        table", "In another mode than you found it in"),
    ("head_on_cache", "    for _ in range(300):\n", "    for _ in range(300):\n        table = backbone.eval()(images)\n", "Compute the features once"),
    ("head_on_cache", ", fl.evaluating(backbone):\n        table = backbone(images)", ":\n        was = backbone.training\n        table = backbone.eval()(images)\n        backbone.train(was)", "(1 in all)"),
    ("head_on_cache", "range(300)", "range(1)", "Train longer"),
    ("head_on_cache", "table = backbone(images)", "table = torch.zeros(len(images), 32)", "Nothing went through the backbone"),
    ("head_on_cache", "return head", "return table", "an nn.Module, is asked"),
    ("head_on_cache", "    return head\n", "", "Is a `return` missing"),
    ("head_on_cache", "optimizer.step()", "pass", "Train longer"),
    ("head_on_cache", folded.solution(LESSON, "head_on_cache"), SLOW, "Compute the features once"),
    ("hold_still", "module.requires_grad_(False).eval()", "module.eval()", "parameters have moved"),
    ("hold_still", "    module.train = lambda mode=True: module\n", "", "buffers have moved"),
    ("hold_still", ".requires_grad_(False).eval()", ".requires_grad_(False)", "buffers have moved"),
    ("hold_still", "return module", "return None", "Is a `return` missing"),
    ("hold_still", "lambda mode=True: module", "lambda mode=True: nn.Module.train(module, mode)", "buffers have moved"),
    ("hold_still", "module.requires_grad_(False).eval()", "module.requires_grad = False; module.eval()", "parameters have moved"),
    ("hold_still", "    return module\n", "    return 3\n", "the module is asked"),
    ("hold_still", "    return module\n", "    module.__class__ = type('Held', (type(module),), {})\n    return module\n", "Its class stays what it is"),
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
    source = folded.solution(LESSON, name)
    assert old in source
    verdict = folded.checked(LESSON, name, source.replace(old, new))
    assert verdict.status == "not yet" and said in verdict.message, verdict
