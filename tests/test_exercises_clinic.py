"""Lesson 08's patients: every sick script is told its symptom, half a mend is refused."""
# ruff: noqa: E501 - one line of the table is one wrong answer

import folded
import pytest

from featlab import exercises

LESSON = "08_clinic"
kernel = folded.kernel(LESSON)
# patient -> what the check says of the script as it was reported
SYMPTOMS = {
    "train_head": "18 buffers moved that had to stay",
    "stay_frozen": "18 buffers moved that had to stay",
    "fit": "In training step 8 of the run",
    "new_head": "The new head did not learn",
    "deep_reader": "2410 parameters that others can see",
    "two_answers": "In eval two forwards of the same batch differ",
    "named_train": "eval() raised TypeError",
    "distil": "18 buffers moved that had to stay",
    "two_phases": "3 parameters moved that had to stay, stem.conv.weight",
    "measured": "In training step 1 of the run, 26 submodules were not in train",
}


def test_the_lesson_has_at_least_ten_patients_each_with_a_report():
    assert {exercise.name for exercise in exercises.of_lesson(LESSON)} == set(SYMPTOMS)
    tasks = [source for c in folded.cells(LESSON) if (source := "".join(c["source"])).startswith("### Patient")]
    assert len(tasks) == len(SYMPTOMS) >= 10
    assert all("https://github.com/" in task for task in tasks)


@pytest.mark.parametrize("name", SYMPTOMS)
def test_the_sick_script_is_short_runs_to_its_end_and_is_told_its_symptom(name):
    assert len(folded.blank(LESSON, name).splitlines()) < 25
    verdict = folded.checked(LESSON, name, folded.blank(LESSON, name))
    assert not verdict and verdict.status == "not yet"
    assert SYMPTOMS[name] in verdict.message


FREEZE = "    for part in (net.stem, net.block1, net.block2):\n        fl.freeze(part)\n"
RECORDED = "    net.requires_grad_(False)\n    net.head.requires_grad_(True)\n"
STAY = "        super().train(mode)\n        self.backbone.eval()\n        return self\n"
LOOK = 'looks.append(extractor(images)["block1"].mean().item())'
# patient, what is changed in the solution, into what, what the check says then
HALF = [
    ("train_head", FREEZE, "", "18 buffers moved"),
    ("train_head", FREEZE, "    net.requires_grad_(False)\n    net.head.requires_grad_(True)\n", "18 buffers moved"),
    ("train_head", "net.train()", "net.eval()", "Dropout was off"),
    ("train_head", "optimizer.step()", "pass", "The head did not learn"),
    ("train_head", "    losses = []\n    net.train()", "    losses = []\n    net.eval()", "Dropout was off"),
    ("train_head", "return losses", "return net", "the list of its losses is asked"),
    ("train_head", "lr=0.2", "lr=1e-6", "The loss did not fall"),
    ("train_head", "in batches:", "in batches[:3]:", "3 losses for 12 steps"),
    ("train_head", FREEZE, RECORDED + "    for part in net.modules():\n        part.track_running_stats = False\n", "features of train mode"),
    ("train_head", FREEZE, RECORDED, "18 buffers moved"),
    ("train_head", FREEZE, RECORDED + "    net.eval()\n    net.head.train()\n    net.train = lambda mode=True: net\n", "solved"),
    ("stay_frozen", STAY, "        return self\n", "does not follow"),
    ("stay_frozen", STAY, "        super().train(False)\n        return self\n", "does not follow"),
    ("stay_frozen", STAY, "        super().train(mode)\n        return self\n", "18 buffers moved"),
    ("stay_frozen", ".requires_grad_(False).eval()", ".eval()", "parameters moved"),
    ("stay_frozen", STAY, "        super().train(mode)\n        if mode:\n            self.backbone.eval()\n        self.head.eval()\n", "does not follow"),
    ("stay_frozen", "        self.backbone.eval()\n", "        self.backbone.requires_grad_(False)\n", "18 buffers moved"),
    ("stay_frozen", "nn.Linear(32, classes)", "nn.Linear(32, classes).requires_grad_(False)", "Not one parameter"),
    ("stay_frozen", "return self\n", "return self.head\n", "solved"),
    ("stay_frozen", "backbone.requires_grad_(False).eval()", "[backbone.requires_grad_(False).eval()]", "a module, which the model knows"),
    ("fit", "    with fl.evaluating(net):\n        return", "    return", "validation batch 0"),
    ("fit", "    with fl.evaluating(net):\n        return", "    net.eval()\n    return", "training step 8"),
    ("fit", "    net.train()\n", "    net.eval()\n", "training step 0"),
    ("fit", "@torch.no_grad()\n", "", "steps of training"),
    ("fit", "curve.append(", "print(", "a validation loss for each"),
    ("fit", "curve.append(validate(net, held_out))", "validate(net, held_out)\n        curve.append(0.0)", "and to fall"),
    ("fit", "net.train()\n    for epoch", "net.eval()\n    for epoch", "training step 0"),
    ("fit", "optimizer.step()", "pass", "The network did not learn"),
    ("fit", "in range(epochs)", "in range(1)", "a validation loss for each"),
    ("new_head", "nn.Linear(32, 5)", "nn.Linear(32, 10)", "tells 10 digits apart"),
    ("new_head", "SGD(net.parameters()", "SGD(net.head.parameters()", "The backbone did not learn"),
    ("new_head", "SGD(net.parameters()", "SGD(net.stem.parameters()", "The new head did not learn"),
    ("new_head", "nn.Linear(32, 5)", "nn.Linear(32, 5).requires_grad_(False)", "The new head did not learn"),
    ("new_head", "net.train()", "net.head.linear = nn.Linear(32, 5)", "The new head did not learn"),
    ("new_head", "optimizer.step()", "pass", "did not learn"),
    ("new_head", "net.head.linear = nn.Linear(32, 5)", "pass", "tells 10 digits apart"),
    ("new_head", "return losses", "pass", "the list of its losses is asked"),
    ("deep_reader", "nn.ModuleList(nn.Linear(32, 32) for _ in range(hidden - 1))", "[]", "parameters that others can see"),
    ("deep_reader", "nn.ModuleList(nn.Linear(32, 32) for _ in range(hidden - 1))", "tuple(nn.Linear(32, 32) for _ in range(hidden - 1))", "parameters that others can see"),
    ("deep_reader", "range(hidden - 1)", "range(hidden)", "parameters that others can see"),
    ("deep_reader", "            x = layer(x).relu()\n", "            x = layer(x).relu().detach()\n", "did not learn"),
    ("deep_reader", "            x = layer(x).relu()\n", "            layer(x)\n", "did not learn"),
    ("deep_reader", "nn.ModuleList(nn.Linear(32, 32) for _ in range(hidden - 1))", "[nn.Linear(32, 32) for _ in range(hidden - 1)]\n        self.kept = nn.ParameterList(p for layer in self.hidden for p in layer.parameters())", "solved"),
    ("two_answers", "self.dropout(x)", "x", "the dropout is gone"),
    ("two_answers", "self.dropout(x)", "F.dropout(x, 0.3)", "two forwards of the same batch differ"),
    ("two_answers", "nn.BatchNorm1d(32)", "nn.BatchNorm1d(32, track_running_stats=False)", "depend on its batch mates"),
    ("two_answers", "self.norm(self.first(x.flatten(1)))", "nn.BatchNorm1d(32)(self.first(x.flatten(1)))", "depend on its batch mates"),
    ("two_answers", "nn.BatchNorm1d(32)", "nn.Identity()", "The BatchNorm has gone"),
    ("two_answers", "nn.BatchNorm1d(32)", "nn.LayerNorm(32)", "The BatchNorm has gone"),
    ("two_answers", "self.norm(self.first(x.flatten(1)))", "self.first(x.flatten(1))", "nothing went through it"),
    ("two_answers", "self.dropout(x)", "F.dropout(x, 0.3, training=self.norm.training)", "solved"),
    ("two_answers", "return self.last(self.dropout(x))", "return self.last(self.dropout.eval()(x))", "the dropout is gone"),
    ("named_train", "        self.train()\n", "", "in eval, as a validation had left it"),
    ("named_train", "def fit(", "def train(", "TypeError"),
    ("named_train", "def fit(", "def learn(", "under the name `fit`"),
    ("named_train", "    def fit(self, batches):\n        self.train()\n", "    def train(self, mode=True):\n        super().train(mode)\n\n    def fit(self, batches):\n        self.train()\n", "gave NoneType"),
    ("named_train", "    def fit(", "    def eval(self):\n        return self\n\n    def fit(", "are in the other mode"),
    ("named_train", "optimizer.step()", "pass", "did not learn"),
    ("named_train", "        self.train()\n", "        self.last.train()\n", "in eval, as a validation had left it"),
    ("named_train", "return losses", "return self", "the list of its losses is asked"),
    ("distil", "fl.freeze(teacher)", "teacher.eval()", "18 buffers moved"),
    ("distil", "fl.freeze(teacher)", "teacher.requires_grad_(False)", "18 buffers moved"),
    ("distil", "both.train()", "both.eval()", "The student is to train in train mode"),
    ("distil", "student(images).log", "teacher(images).log", "does not require grad"),
    ("distil", "both.train()", "student.eval()", "The student is to train in train mode"),
    ("distil", "teacher(images).softmax(1)", "F.one_hot(labels, 10).float()", "Nobody asked the teacher"),
    ("distil", "optimizer.step()", "pass", "The student did not learn"),
    ("distil", "optimizer = torch.optim.SGD(student", "optimizer = torch.optim.SGD(teacher", "did not learn"),
    ("two_phases", "fl.freeze(net.stem)", "net.stem.requires_grad_(False)", "3 parameters moved"),
    ("two_phases", "fl.freeze(net.stem)", "net.stem.requires_grad_(False)\n            net.stem.eval()", "3 parameters moved"),
    ("two_phases", "fl.freeze(net.stem)", "net.stem.requires_grad_(False)\n            for p in net.stem.parameters(): p.grad = None", "3 buffers moved"),
    ("two_phases", "fl.freeze(net.stem)", "net.stem.requires_grad = False", "3 parameters moved"),
    ("two_phases", "fl.freeze(net.stem)", "fl.freeze(net)\n            net.head.requires_grad_(True)", "The rest of the network did not learn"),
    ("two_phases", "    losses = []\n", "    losses = []\n    fl.freeze(net.stem)\n", "In the first phase the stem did not learn"),
    ("two_phases", "fl.freeze(net.stem)", "fl.freeze(net.stem)\n            net.eval()", "21 submodules were not in train (block1"),
    ("two_phases", "            between(net)\n", "", "it was called 0 times"),
    ("two_phases", "(1, 2)", "(1,)", "it was called 0 times"),
    ("two_phases", "zero_grad(set_to_none=False)", "zero_grad()", "solved"),
    ("measured", ', mode="eval"', "", "In look at block1 0"),
    ("measured", ', mode="eval")', ").train()", "In look at block1 0"),
    ("measured", "fl.extractor(net,", "fl.extractor(copy.deepcopy(net),", "The last look gave"),
    ("measured", "return losses, looks", "return losses", "Two lists are asked"),
    ("measured", "    net.train()\n", "", "training step 0"),
    ("measured", "optimizer.step()", "pass", "The network did not learn"),
    ("measured", LOOK, "pass", "0 features were measured"),
    ("measured", ', mode="eval"', ", mode=None", "look at block1"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new", "said"), HALF, ids=[f"{name}-{n}" for n, (name, *_) in enumerate(HALF)])
def test_half_a_mend_is_told_what_is_still_wrong(name, old, new, said):
    source = folded.solution(LESSON, name)
    assert old in source
    verdict = folded.checked(LESSON, name, source.replace(old, new))
    assert said in f"{verdict.status}: {verdict.message}"
