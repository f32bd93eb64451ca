"""Lesson 03's exercises: typical wrong answers are told apart, other right ones accepted."""
# ruff: noqa: E501 - one line of the table is one wrong answer

import folded
import pytest

LESSON = "03_layers_and_init"
kernel = folded.kernel(LESSON)
KINDS = "(nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)"
HE = 'nn.init.kaiming_normal_(module.weight, nonlinearity="relu")'
SCALE = "layer.weight /= layer(x).std(0).square().mean().sqrt()"
# exercise, what is changed in the solution, into what, what the check says then
WRONG = [
    ("expected_std", "weight[0].numel()", "weight.shape[1]", "more than one number of each channel"),
    ("expected_std", "weight[0].numel()", "weight[:, 0].numel()", "fan_out"),
    ("expected_std", "weight[0].numel()", "weight.numel()", "not all of it"),
    ("expected_std", "math.sqrt(2)", "1", "the gain of ReLU is missing"),
    ("expected_std", "math.sqrt(2) / math.sqrt(weight[0].numel())", "2 / weight[0].numel()", "that is the variance"),
    ("expected_std", "math.sqrt(2) / math.sqrt(weight[0].numel())", "math.sqrt(weight[0].numel() / 2)", "upside down"),
    ("expected_std", "math.sqrt(2)", "math.sqrt(1 / 3)", "nn.Linear's own"),
    ("expected_std", "math.sqrt(2)", "5 / 3", "far off"),
    ("expected_std", "math.sqrt(2) / math.sqrt(weight[0].numel())", "nn.init.kaiming_normal_(weight).std()", "measured on a draw"),
    ("expected_std", "    return", "    found =", "`return` missing"),
    ("expected_std", "return math", "return weight.fill_(0.1) or math", "RuntimeError"),
    ("start_all", "model.modules()", "model.children()", "Parts can stand at any depth"),
    ("start_all", KINDS, "nn.Linear", "of a Conv1d, is as it was"),
    ("start_all", KINDS, "(nn.Linear, nn.Conv1d, nn.Conv2d)", "of a Conv3d, is as it was"),
    ("start_all", f"isinstance(module, {KINDS})", 'getattr(module, "weight", None) is not None and module.weight.ndim > 1 and (setattr(module, "bias", getattr(module, "bias", None)) or True)', "of a Embedding, was changed"),
    ("start_all", f"isinstance(module, {KINDS})", 'getattr(module, "bias", None) is not None', "ValueError"),
    ("start_all", HE, 'nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")', "Look at fan_in"),
    ("start_all", HE, "nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5))", "nn.Linear's own"),
    ("start_all", HE, "nn.init.xavier_normal_(module.weight)", "Look at fan_in"),
    ("start_all", HE, HE.replace("module.weight", "module.weight.abs_()"), "RuntimeError"),
    ("start_all", HE, HE + "; module.weight.data.abs_()", "Look at fan_in"),
    ("start_all", HE, HE + "; module.weight.data += 0.05", "has a mean of"),
    ("start_all", HE, "module.weight = nn.Parameter(nn.init.kaiming_normal_(module.weight.detach().clone()))", "is another parameter now"),
    ("start_all", HE, HE + "; module.requires_grad_(True)", "another requires_grad"),
    ("start_all", HE, HE + "; model.eval()", "Modes have been switched"),
    ("start_all", "            if module.bias is not None:\n                nn.init.zeros_(module.bias)\n", "", "is not zero"),
    ("start_all", "module.bias is not None", "True", "AttributeError"),
    ("silent_units", ".all(1)", ".any(1)", "all is asked, not any"),
    ("silent_units", "int((h.transpose(0, 1).flatten(1) == 0).all(1).sum())", "int((h == 0).sum())", "single zeros"),
    ("silent_units", "int((h.transpose(0, 1).flatten(1) == 0).all(1).sum())", "int((h == 0).all(0).sum())", "places that are always 0"),
    ("silent_units", "h.transpose(0, 1)", "h", "samples, it seems"),
    ("silent_units", " == 0).all(1).sum()", " != 0).any(1).sum()", "the units that speak"),
    ("silent_units", "int((h.transpose(0, 1).flatten(1) == 0).all(1).sum())", "(h.transpose(0, 1).flatten(1) == 0).all(1).float().mean()", "a share; how many is asked"),
    ("silent_units", "    return", "    found =", "`return` missing"),
    ("silent_units", ".all(1).sum())", ".all(1).sum() - 1)", "not that"),
    ("silent_units", "    h = ", "    model.eval()\n    h = ", "other modes"),
    ("silent_units", "int((h.transpose(0, 1).flatten(1) == 0).all(1).sum())", "(h == 0).all(0)", "one number is asked"),
    ("scale_by_data", SCALE, "pass", "Its weight is as it was"),
    ("scale_by_data", ".std(0).square().mean().sqrt()", ".std()", "the biases are in that"),
    ("scale_by_data", ".std(0).square().mean().sqrt()", ".std(0).square().mean()", "it is to be 1"),
    ("scale_by_data", ".std(0).square().mean().sqrt()", ".std(0).mean()", "mean of the stds"),
    ("scale_by_data", "        x = layer(x)\n", "        if not isinstance(layer, nn.Linear):\n            x = layer(x)\n", "RuntimeError"),
    ("scale_by_data", SCALE + "\n        x = layer(x)", "before = layer(x)\n            " + SCALE + "\n            x = before\n        else:\n            x = layer(x)", "Did it get what the scaled layers"),
    ("scale_by_data", SCALE, SCALE.replace(".square().mean().sqrt()", "[:, None]"), "points elsewhere"),
    ("scale_by_data", SCALE, SCALE + "; layer.bias.zero_()", "carries no signal"),
    ("scale_by_data", SCALE, "layer.weight = nn.Parameter(layer.weight / layer(x).std(0).square().mean().sqrt())", "another object"),
    ("scale_by_data", "@torch.no_grad()\n", "", "RuntimeError"),
    ("scale_by_data", SCALE, SCALE + "; x.mul_(1.1)", "holds other values"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "old", "new", "said"), WRONG, ids=[f"{name}-{n}" for n, (name, *_) in enumerate(WRONG)]
)
def test_a_wrong_answer_is_told_what_is_wrong(name, old, new, said):
    verdict = folded.checked(LESSON, name, folded.replaced(LESSON, name, old, new))
    assert verdict.status == "not yet" and said in verdict.message, verdict


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("expected_std", "math.sqrt(2) / math.sqrt(weight[0].numel())", "torch.tensor(2 / weight[0].numel()).sqrt()"),
        ("start_all", HE, HE.replace("normal", "uniform")),
        ("start_all", HE, "module.weight.data.normal_(0, math.sqrt(2 / module.weight[0].numel()))"),
        ("silent_units", "int(", "("),
        ("silent_units", "fl.features(model, x, name)", 'fl.features(model, x, name, mode="eval")'),
        ("silent_units", "    h = ", "    torch.rand(7)\n    h = "),  # Dropout draws other numbers
        ("scale_by_data", SCALE, SCALE.replace("layer.weight /= ", "layer.weight.data /= ")),
    ],
)
def test_other_right_answers_are_accepted(name, old, new):
    verdict = folded.checked(LESSON, name, folded.replaced(LESSON, name, old, new))
    assert verdict, verdict.message
