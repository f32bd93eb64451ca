"""The audit: silent on what is in order, data to work with, and everything left as found."""

import copy
import random
import time
import warnings

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn.parameter import is_lazy
from torchvision.ops import FrozenBatchNorm2d

import featlab as fl
from featlab.audits import RULES, AuditFailed
from featlab.states import model_state, process_state, same


def codes(model, **given) -> list[str]:
    return fl.audit(model, **given).codes


@pytest.fixture
def resnet() -> nn.Module:
    return torchvision.models.resnet18()


def sgd(model: nn.Module, **options) -> torch.optim.Optimizer:
    return torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=0.1, **options)


# ---- no false alarm


def meta_models() -> list[tuple[str, object]]:
    from torchvision import models

    quiet = {"weights": None}
    found = [(name, lambda n=name: models.get_model(n, **quiet)) for name in models.list_models(module=models)]
    for module in (models.segmentation, models.detection):
        for name in models.list_models(module=module):
            found.append((name, lambda n=name: models.get_model(n, weights=None, weights_backbone=None)))
    return random.Random(0).sample(found, 30)


@pytest.mark.parametrize(("name", "build"), meta_models(), ids=lambda value: value if isinstance(value, str) else "")
def test_torchvision_s_models_are_silent_in_plain_train_and_plain_eval(name, build):
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = build()
        except NotImplementedError:  # some initialise by values, which meta tensors have not
            with torch.device("cpu"):
                model = build()
    for mode in (True, False):
        model.train(mode)
        assert codes(model) == codes(model, optimizer=sgd(model)) == []


def test_a_correctly_frozen_backbone_is_silent(resnet):
    head, resnet.fc = resnet.fc, nn.Identity()
    by_featlab = nn.Sequential(fl.freeze(copy.deepcopy(resnet)), copy.deepcopy(head)).train()
    by_hand = nn.Sequential(resnet.requires_grad_(False), head).train()
    by_hand[0].eval()
    for model in (by_featlab, by_hand):
        assert codes(model, optimizer=sgd(model)) == []


def test_norms_kept_in_eval_while_the_rest_learns_are_silent(resnet):
    resnet.train()
    for module in resnet.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    assert codes(resnet, optimizer=sgd(resnet)) == []
    for module in resnet.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False)
    assert codes(resnet, optimizer=sgd(resnet)) == []


def test_frozen_batchnorms_of_torchvision_are_silent():
    model = torchvision.models.resnet18(norm_layer=FrozenBatchNorm2d).train()
    assert codes(model, optimizer=sgd(model)) == []


class Adapted(nn.Module):
    """A frozen layer and a low-rank one beside it, as LoRA has it."""

    def __init__(self, base: nn.Linear, rank: int = 2):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down, self.up = (
            nn.Linear(base.in_features, rank, bias=False),
            nn.Linear(rank, base.out_features, bias=False),
        )
        self.dropout = nn.Dropout(0.1)

    def forward(self, x):
        return self.base(x) + self.up(self.down(self.dropout(x)))


def test_low_rank_adapters_in_a_frozen_transformer_are_silent():
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True), 2)
    model.requires_grad_(False)
    for layer in model.layers:
        layer.linear1, layer.linear2 = Adapted(layer.linear1), Adapted(layer.linear2)
    model = nn.ModuleDict({"embedding": nn.Embedding(20, 8).requires_grad_(False), "body": model}).train()
    assert codes(model, optimizer=sgd(model)) == []


def test_a_gan_s_two_optimizers_are_silent():
    generator, critic = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8)), nn.Sequential(nn.Linear(8, 1))
    gan = nn.ModuleDict({"generator": generator, "critic": critic})
    both = [sgd(generator), sgd(critic)]
    assert codes(gan, optimizer=both) == codes(generator, optimizer=both[0]) == []
    assert codes(generator, optimizer=both) == []


def test_monte_carlo_dropout_is_silent():
    model = fl.samples.digits_net()
    model.head.dropout.train()
    assert codes(model) == []


def test_tied_weights_wrappers_and_lazy_layers_are_silent():
    tied = nn.ModuleDict({"embed": nn.Embedding(9, 4), "out": nn.Linear(4, 9, bias=False)})
    tied["out"].weight = tied["embed"].weight
    scripted = torch.jit.trace(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).eval(), torch.randn(3, 2))
    weighted = nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))
    lazy = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d())
    compiled = torch.compile(nn.Linear(2, 2), backend="eager")
    for model in (
        tied,
        nn.DataParallel(nn.BatchNorm1d(3)),
        scripted,
        weighted,
        lazy,
        compiled,
        nn.MultiheadAttention(4, 2),
    ):
        assert codes(model) == []


class Pair(nn.Module):
    """A part that learns and a copy of it beside it."""

    def __init__(self, online: nn.Module, copied: nn.Module):
        super().__init__()
        self.online, self.copied = online, copied


def small() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.1), nn.Linear(8, 4))


def test_a_momentum_teacher_in_train_mode_is_silent_and_another_frozen_twin_is_not():
    student = small()
    teacher = copy.deepcopy(student).requires_grad_(False)
    with torch.no_grad():
        for parameter in teacher.parameters():  # some steps behind
            parameter.add_(0.05 * torch.randn_like(parameter))
    model = Pair(student, teacher).train()
    assert codes(model, optimizer=sgd(model)) == []
    other = Pair(student, small().requires_grad_(False)).train()
    assert "frozen-statistics-move" in codes(other, optimizer=sgd(other))


def test_a_copy_that_averages_the_model_is_silent_in_train_and_in_eval():
    model = Pair(net := small(), torch.optim.swa_utils.AveragedModel(net)).train()
    assert codes(model, optimizer=sgd(net)) == []
    model.copied.eval()
    assert codes(model, optimizer=sgd(net)) == codes(model.copied, optimizer=sgd(net)) == []


def test_the_half_of_a_gan_that_is_frozen_for_the_other_s_turn_is_silent():
    generator, critic = small(), nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
    gan = nn.ModuleDict({"generator": generator, "critic": critic}).train()
    both = [sgd(generator), sgd(critic)]
    critic(generator(torch.randn(6, 4)).detach()).sum().backward()  # the critic's turn leaves gradients
    critic.requires_grad_(False)
    critic(generator(torch.randn(6, 4))).sum().backward()
    assert codes(gan, optimizer=both) == []


def test_adapters_in_a_transformer_that_is_mostly_embeddings_are_silent():
    model = nn.ModuleDict(
        {
            "embeddings": nn.Sequential(nn.Embedding(9000, 8), nn.LayerNorm(8), nn.Dropout(0.1)),
            "body": nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1),
        }
    ).requires_grad_(False)
    model["body"].linear1 = Adapted(model["body"].linear1)
    assert codes(model.train(), optimizer=sgd(model)) == []


def test_a_second_name_for_a_norm_inside_a_part_is_silent():
    model = nn.Module()
    model.backbone = small()
    model.norm = model.backbone[1]
    assert codes(model) == []
    model = nn.Module()
    model.norm = nn.BatchNorm1d(8)
    model.backbone = nn.Sequential(nn.Linear(4, 8), model.norm)
    assert codes(model) == []


def test_another_library_s_momentum_is_silent_where_no_batch_is_taken_in():
    assert codes(keras()) == ["keras-momentum"] and codes(keras().eval()) == []


def test_monte_carlo_dropout_inside_attention_is_silent():
    model = nn.TransformerDecoderLayer(8, 2, 16).eval()
    for module in model.modules():
        if isinstance(module, (nn.Dropout, nn.MultiheadAttention)):
            module.train()
    assert codes(model) == []


def test_a_parametrized_rnn_is_silent():
    model = nn.LSTM(3, 3)
    nn.utils.parametrizations.weight_norm(model, "weight_hh_l0")
    assert codes(model, optimizer=sgd(model)) == []


@pytest.mark.parametrize(
    "held", [[None, nn.Linear(2, 2)], [[nn.Linear(2, 2)]], {"a": [nn.Linear(2, 2)]}, {"n": 1, "net": nn.Linear(2, 2)}]
)
def test_a_layer_that_lies_deeper_in_a_plain_container_is_named(held):
    model = nn.Sequential(nn.Linear(2, 2))
    model.extra = held
    (finding,) = fl.audit(model)
    assert finding.code == "unregistered-module" and finding.remedy.startswith("# keep the modules of model.extra in")


def test_a_cached_activation_and_a_reference_to_a_submodule_are_silent():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    model.last = model(torch.randn(2, 3))
    model.seen = [model[0], torch.randn(3)]
    model.__dict__["parts"] = {"first": model[0]}
    assert codes(model, optimizer=sgd(model)) == []


# ---- what the reports do not cover


def shared() -> nn.Module:
    norm = nn.BatchNorm1d(3)
    return nn.ModuleDict({"left": nn.Sequential(nn.Linear(2, 3), norm), "right": nn.Sequential(nn.Linear(2, 3), norm)})


def hooked() -> nn.Module:
    model = nn.Linear(2, 2)
    for _ in range(2):  # a cell run twice
        model.register_forward_hook(print)
        model.register_forward_hook(_hook)
    return model


def _hook(module, args, output):
    return None


def never_moving() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, momentum=0.0))


@pytest.mark.parametrize(
    ("build", "code"), [(shared, "shared-norm"), (hooked, "hook-repeated"), (never_moving, "statistics-never-move")]
)
def test_a_static_rule_names(build, code):
    assert codes(build()) == [code]


def test_two_optimizers_on_one_parameter_and_a_rate_of_zero_are_named():
    model = nn.Linear(2, 2)
    assert codes(model, optimizer=[sgd(model), sgd(model)]) == ["in-two-optimizers"]
    finding = fl.audit(model, optimizer=torch.optim.SGD(model.parameters(), lr=0.0))[0]
    assert (finding.code, finding.severity) == ("learning-rate-zero", "note")


def test_nothing_learns_when_the_head_was_frozen_too():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).requires_grad_(False)
    assert codes(model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1)) == ["nothing-learns"]


class Batchwise(nn.Module):
    def forward(self, x):
        return x - x.mean(0)


class Moving(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return x


@pytest.mark.parametrize(("kind", "code"), [(Batchwise, "batch-mates-in-eval"), (Moving, "statistics-move-in-eval")])
def test_a_running_rule_names(kind, code):
    assert codes(kind(), x=torch.randn(4, 3)) == [code]


def test_real_models_are_silent_when_they_run(resnet):
    x = torch.randn(3, 3, 64, 64)
    for mode in (True, False):
        assert codes(resnet.train(mode), x=x) == []
    assert codes(fl.samples.digits_net().train(), x=torch.rand(4, 1, 8, 8)) == []
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False
    )
    assert codes(encoder, x=torch.randn(4, 5, 8)) == []


# ---- remedies


def frozen() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2)).train()
    model[:2].requires_grad_(False)
    return model


def attribute() -> nn.Module:
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].requires_grad = False
    return model


def listed() -> nn.Module:
    model = nn.Module()
    model.layers = [nn.Linear(2, 2)]
    return model


def lost() -> nn.Module:
    model = nn.Module()
    model.scale = nn.Parameter(torch.ones(3)).double()
    return model


def keras() -> nn.Module:
    return nn.Sequential(*(nn.BatchNorm1d(2, momentum=0.99) for _ in range(5)))


def mixed() -> nn.Module:
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), nn.Linear(2, 2)).eval()
    model[0].train()
    return model


def half() -> nn.Module:
    model = mixed().train()
    model[0].eval()
    return model


def halves() -> nn.Module:
    """Switch the layers of two blocks, and not the blocks, as an extractor's eval() does."""
    model = nn.Sequential(*(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)) for _ in range(2))).train()
    for block in model:
        for layer in block:
            layer.eval()
    return model


def untracked() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False)).eval()


def shadowed() -> nn.Module:
    model = nn.Linear(2, 2)
    model.__dict__["train"] = "yes"
    return model


def forgotten() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    return model, sgd(model[0])


def leftover() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = sgd(model)
    model(torch.randn(1, 2)).sum().backward()
    model[0].requires_grad_(False)
    return model, optimizer


def misspelled() -> nn.Module:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    for parameter in model[:2].parameters():
        parameter.require_grad = False
    return model


def unheard() -> nn.Module:
    """A part whose own `train` does not reach what is below it."""

    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(2)

        def train(self, mode=True):
            self.training = mode
            return self

    return nn.Sequential(Body()).eval()


def dropouts_listed() -> nn.Module:
    model = nn.Module()
    model.layers = [nn.Dropout(0.1), nn.Dropout(0.2)]
    return model.eval()


def many_untracked() -> nn.Module:
    return nn.Sequential(*(nn.BatchNorm1d(2, track_running_stats=False) for _ in range(5))).eval()


def replaced_and_listed() -> tuple[nn.Module, list[torch.optim.Optimizer]]:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizers = [torch.optim.AdamW(part.parameters()) for part in model]
    model[1] = nn.Linear(2, 3)
    return model, optimizers


def replaced() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.2)
    model[1] = nn.Linear(2, 3)
    return model, optimizer


def second_group_at_zero() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    groups = [{"params": model[0].parameters()}, {"params": model[1].parameters(), "lr": 0.0}]
    return model, torch.optim.SGD(groups, lr=0.1)


SICK = [frozen, attribute, listed, lost, keras, mixed, half, halves, untracked, shared, hooked, never_moving, shadowed]
SICK += [misspelled, unheard, dropouts_listed, many_untracked, forgotten, leftover, replaced, replaced_and_listed]
SICK += [second_group_at_zero]


@pytest.mark.parametrize("build", SICK)
def test_the_remedy_can_be_pasted_and_mends(build):
    built = build()
    model, optimizer = built if isinstance(built, tuple) else (built, None)
    found = fl.audit(model, optimizer=optimizer)
    assert found
    for finding in found:
        names = {"model": model, "optimizer": optimizer, "fl": fl, "torch": torch, "copy": copy}
        for _ in range(2 if finding.code == "hook-repeated" else 1):
            exec(finding.remedy, names)
    assert codes(model, optimizer=names["optimizer"]) == []


def test_a_remedy_for_many_norms_leaves_those_in_order_alone():
    model = nn.Sequential(*(nn.BatchNorm1d(2) for _ in range(6))).eval()
    for norm in model[:5]:
        norm.running_mean.fill_(float("nan"))
    model[5].running_mean.fill_(3.0)
    (finding,) = fl.audit(model)
    exec(finding.remedy, {"model": model, "fl": fl, "torch": torch})
    assert codes(model) == [] and model[5].running_mean.tolist() == [3.0, 3.0]


def test_a_mended_optimizer_keeps_its_options_and_is_the_one_a_scheduler_holds():
    model, optimizer = replaced()
    for finding in fl.audit(model, optimizer=optimizer):
        exec(finding.remedy, {"model": model, "optimizer": (held := optimizer)})
    (group,) = held.param_groups
    assert group["weight_decay"] == 0.2 and set(group["params"]) == set(model.parameters())


def test_a_misspelled_freeze_is_one_finding_for_all_its_parameters():
    (finding,) = fl.audit(misspelled())
    assert finding.where == ("0.weight", "0.bias", "1.weight", "1.bias") and "4 parameters" in finding.evidence


# ---- data, faces, refusals


def test_a_finding_is_data_and_the_worst_comes_first():
    model = frozen()
    model[3].requires_grad_(False)
    found = fl.audit(model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    assert found.codes == ["nothing-learns", "frozen-statistics-move"] and [f.severity for f in found] == [
        "error",
        "warning",
    ]
    assert found[1].where == ("1",) and "1 norm in train mode" in found[1].evidence and found[1].meaning
    assert len(found) == 2 and found and not fl.audit(nn.Linear(1, 1))


def test_the_text_and_the_html_face_say_the_same():
    found = fl.audit(frozen())
    assert repr(found).splitlines()[:2] == ["Found: 1 warning.", "▲ warning: frozen-statistics-move, 1"]
    html = found._repr_html_()
    for line in repr(found).splitlines()[:2]:
        assert line in html
    assert repr(fl.audit(nn.Linear(1, 1))) == "Nothing found."


def test_raise_if_raises_from_its_severity_on_and_else_hands_the_audit_on():
    model = nn.Linear(2, 2)
    note = fl.audit(model, optimizer=torch.optim.SGD(model.parameters(), lr=0.0))
    assert note.raise_if("warning") is note
    with pytest.raises(AuditFailed, match="learning-rate-zero"):
        note.raise_if("note")
    with pytest.raises(AuditFailed, match=r"(?s)frozen-statistics-move.*mend: fl.freeze") as caught:
        fl.audit(frozen()).raise_if()
    assert caught.value.findings.codes == ["frozen-statistics-move"]
    with pytest.raises(ValueError, match="note, warning, error; this is 'bad'"):
        note.raise_if("bad")


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"optimizer": 3}, TypeError, "torch.optim.Optimizer or a list of them; this is int"),
        ({"optimizer": [torch.optim.SGD]}, TypeError, "this is type"),
        ({"x": torch.randn(2, 9)}, ValueError, "The model raised on x in eval. RuntimeError"),
    ],
)
def test_bad_input_is_refused_at_the_door(given, error, said):
    with pytest.raises(error, match=said):
        fl.audit(nn.Linear(2, 2), **given)


def test_what_is_no_module_is_refused():
    with pytest.raises(TypeError):
        fl.audit([nn.Linear(2, 2)])


# ---- as found


class Interrupted(nn.Module):
    """Moves what it can, and is interrupted in its second forward."""

    def __init__(self, error: type[BaseException]):
        super().__init__()
        self.error, self.calls = error, 0
        self.norm, self.dropout = nn.BatchNorm1d(3), nn.Dropout(0.5)

    def forward(self, x):
        self.calls += 1
        x = self.dropout(self.norm(x))
        if self.calls > 1:
            self.norm.train()
            raise self.error("enough")
        return x


@pytest.mark.parametrize(("error", "seen"), [(KeyboardInterrupt, KeyboardInterrupt), (RuntimeError, ValueError)])
def test_an_interrupted_trial_leaves_model_and_process_as_found(error, seen):
    model, x = Interrupted(error).train(), torch.randn(4, 3)
    given, before, process = x.clone(), model_state(model), process_state()
    hooks = len(torch.nn.modules.module._global_forward_hooks)
    with pytest.raises(seen):
        fl.audit(model, x=x)
    after = model_state(model)
    assert all(same(before[kind].get(name), value) for kind in after for name, value in after[kind].items())
    assert all(same(value, process_state()[name]) for name, value in process.items())
    assert len(torch.nn.modules.module._global_forward_hooks) == hooks and torch.equal(x, given)


class Draws(nn.Module):
    def __init__(self, draw):
        super().__init__()
        self.draw = draw

    def forward(self, x):
        return x * self.draw()


@pytest.mark.parametrize("draw", [random.random, np.random.rand, lambda: torch.rand(())])
def test_whatever_draws_in_eval_is_named_and_its_generator_put_back(draw):
    x = torch.randn(2, 3)
    process = process_state()
    assert codes(Draws(draw), x=x) == ["random-in-eval"]
    assert all(same(value, process_state()[name]) for name, value in process.items())


class Grows(nn.Module):
    """Builds, at its first forward, what it needs: a layer, a buffer, a hook, a flag."""

    def __init__(self):
        super().__init__()
        self.built, self.seen = False, {}

    def forward(self, x):
        if not self.built:
            self.layer = nn.Linear(x.shape[1], 2)
            self.register_buffer("mean", x.mean(0))
            self.register_forward_hook(lambda *given: None)
            self.built = self.seen["shape"] = True
        return self.layer(x - self.mean)


def test_what_a_forward_builds_is_taken_away_again():
    model = Grows()
    assert codes(model, x=torch.randn(2, 3)) == []
    assert not model._modules and not model._buffers and not model._forward_hooks
    assert not model.built and model.seen == {}
    model(torch.randn(2, 3))  # and it can still be built


def test_a_lazy_model_is_not_built_by_a_trial():
    for model in (nn.Sequential(nn.LazyLinear(3)), nn.Sequential(nn.LazyBatchNorm1d())):
        with pytest.raises(ValueError, match="Call the model once"):
            fl.audit(model, x=torch.randn(4, 2))
        assert any(is_lazy(parameter) for parameter in model.parameters())


def test_other_threads_calls_are_not_taken_for_the_model_s():
    model = nn.Sequential(nn.Linear(3, 3))
    model.register_forward_hook(lambda *given: time.sleep(0))
    assert codes(model, x=torch.randn(2, 3)) == []


def test_every_rule_has_a_meaning_and_a_severity():
    assert all(rule.meaning.endswith(".") and rule.severity in ("note", "warning", "error") for rule in RULES.values())
