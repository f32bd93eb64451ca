"""Capture against plain hand-written references: right values in, nothing left behind."""

import copy
import gc
import itertools
import threading
import time
import weakref
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from featlab.absences import NeverRan
from featlab.activations import capture, features, labels, shapes
from featlab.extractors import extractor
from featlab.selectors import UnknownName, every


def hooks(model: nn.Module) -> int:
    """Count everything a call can be intercepted by."""
    places = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    kwargs = ("_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs", "_forward_hooks_always_called")
    return sum(len(getattr(module, place)) for module in every(model) for place in places + kwargs)


class InPlace(nn.Module):
    """A linear layer whose result is overwritten by the next one, a ReLU used twice, and a `relu_1` of its own."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.relu = nn.ReLU(inplace=True)
        self.relu_1 = nn.Identity()
        self.unused = nn.Linear(1, 1)

    def forward(self, x):
        x = self.relu(self.linear(x))
        x = self.relu_1(self.relu(x - 0.1))
        return self.relu(x - 0.1)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return InPlace()


@pytest.fixture
def x():
    return torch.randn(5, 4, generator=torch.Generator().manual_seed(1))


def test_values_in_front_of_an_in_place_operation_are_what_the_layer_returned(model, x):
    with capture(model, "linear") as seen:
        model(x)
    expected = F.linear(x, model.linear.weight, model.linear.bias)
    assert (expected < 0).any()
    assert torch.equal(seen["linear"], expected)
    assert torch.equal(features(model, x, "linear")["linear"], expected)


def test_without_copy_the_value_is_the_overwritten_tensor(model, x):
    with capture(model, "linear", copy=False) as seen:
        model(x)
    assert not (seen["linear"] < 0).any()


def test_inputs_in_front_of_an_in_place_operation_are_what_the_layer_was_given(model, x):
    with capture(model, "relu", inputs=True) as seen:
        model(x)
    assert torch.equal(seen.inputs["relu"][0], F.linear(x, model.linear.weight, model.linear.bias))
    assert seen.inputs["relu"].kwargs == {}


def test_gradients_in_front_of_an_in_place_operation_are_those_of_the_value_seen(model, x):
    with capture(model, ["linear", "relu"], grads=True) as seen:
        model(x).sum().backward()
    twin = F.linear(x, model.linear.weight, model.linear.bias).detach().requires_grad_()
    F.relu(F.relu(F.relu(twin) - 0.1) - 0.1).sum().backward()
    assert twin.grad.any()
    assert torch.equal(seen.grads["linear"], twin.grad)


@pytest.mark.parametrize("branches", [1, 2])
def test_a_view_that_is_written_in_place_has_no_gradient_rather_than_a_part_of_it(x, branches):
    class Views(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.flat, self.relu = nn.Linear(4, 4), nn.Flatten(0), nn.ReLU(inplace=True)

        def forward(self, x):
            flat = self.flat(self.linear(x))
            tripled = flat * 3
            return self.relu(flat) + tripled if branches == 2 else self.relu(flat)

    model = Views()
    with capture(model, ["linear", "flat"], grads=True) as seen:
        model(x).sum().backward()
    twin = model.linear(x).detach().requires_grad_()
    (F.relu(twin) + (branches - 1) * 3 * twin).sum().backward()
    assert torch.equal(seen.grads["linear"], twin.grad)
    # torch gives the view's node the gradient of the tripled branch alone
    with pytest.raises(NeverRan, match="no gradient for 'flat'.* a view .flatten. that was written in place"):
        seen.grads["flat"]


def test_a_view_that_nobody_writes_into_has_its_gradient(x):
    model = nn.Sequential(nn.Linear(4, 4), nn.Flatten(0), nn.Tanh())
    with capture(model, "1", grads=True) as seen:
        model(x).sum().backward()
    assert torch.allclose(seen.grads["1"], 1 - model(x) ** 2)


def test_each_call_of_a_reused_module_is_kept_and_a_real_name_loses_nothing(model, x):
    with capture(model, ["relu", "relu_1"]) as seen:
        model(x)
    assert list(seen) == ["relu", "relu_2", "relu_1", "relu_3"]
    assert torch.equal(seen["relu_1"], seen["relu_2"])
    assert torch.equal(seen["relu_3"], F.relu(seen["relu_1"] - 0.1))


def test_a_repeat_can_be_asked_for_alone(model, x):
    with capture(model, "relu_2") as seen:
        model(x)
    assert list(seen) == ["relu_2"]
    assert torch.equal(features(model, x, "relu_2")["relu_2"], seen["relu_2"])


def test_features_stops_at_the_last_that_runs_whatever_the_order_asked(model, x):
    ran = []
    for name, module in model.named_children():
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
    assert list(features(model, x, ["relu", "linear"])) == ["linear", "relu"]
    assert ran == ["linear", "relu"]


def test_what_never_ran_is_an_error_that_says_why(model, x):
    with pytest.raises(NeverRan, match="'unused' .Linear. never ran. Likely reasons: "):
        features(model, x, ["linear", "unused"])
    with capture(model, "unused") as seen:
        model(x)
    assert "unused" not in seen
    assert seen.get("unused") is None
    with pytest.raises(NeverRan, match="never ran"):
        seen["unused"]
    with pytest.raises(NeverRan, match="not called often enough for 'relu_9'"):
        features(model, x, "relu_9")


@pytest.mark.parametrize(
    ("model", "x", "name", "says"),
    [
        (nn.ModuleDict({"a": nn.ModuleList([nn.ReLU()])}), None, "a", "only holds others"),
        (nn.MultiheadAttention(4, 2), (torch.zeros(2, 1, 4),) * 3, "out_proj", "never calls it"),
    ],
)
def test_known_reasons_are_named(model, x, name, says):
    model.forward = (lambda x: x) if isinstance(model, nn.ModuleDict) else model.forward
    with pytest.raises(NeverRan, match=says):
        features(model, x, name)


def test_inside_torchscript_the_reason_is_named(model, x):
    scripted = nn.Sequential(torch.jit.trace(nn.Sequential(nn.Linear(4, 4), nn.Tanh()), x))
    with pytest.raises(NeverRan, match="TorchScript"):
        features(scripted, x, "0.1")


@pytest.mark.parametrize("call", [capture, lambda model, name: features(model, None, name)])
def test_an_unknown_name_is_refused_before_any_hook_is_set(model, call):
    with pytest.raises(UnknownName, match="Near: linear"):
        call(model, "linaer").__enter__()
    assert hooks(model) == 0


def test_a_wrong_mode_is_refused(model, x):
    with pytest.raises(ValueError, match="mode is None .run as is. or 'eval'; this is 'train'"):
        features(model, x, "linear", mode="train")


class Pair(NamedTuple):
    first: torch.Tensor
    second: object


def test_gradients_come_in_a_structure_whose_constructor_takes_tensors_only():
    rows = nn.utils.rnn.pack_sequence([torch.ones(3, 4), torch.ones(2, 4)])
    model = nn.Sequential(nn.LSTM(4, 2))
    with capture(model, "0", grads=True) as seen:
        model(rows)[0].data.sum().backward()
    assert torch.equal(seen.grads["0"][0].data, torch.ones(5, 2))


@dataclass
class Output:
    logits: torch.Tensor
    extra: dict


class Odd(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x):
        return self.make(x)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: (x, None, [x, {"a": x}]),
        lambda x: Pair(x, (x, 3)),
        lambda x: Output(x, {"k": [x]}),
        lambda x: None,
        lambda x: "text",
    ],
)
def test_any_structure_is_kept_and_cloned(make, x):
    model = nn.Sequential(Odd(make), Odd(lambda value: value))
    kept = features(model, x, "0")["0"]
    expected = make(x.clone())
    x.zero_()
    assert type(kept) is type(expected)
    assert repr(kept) == repr(expected)


def test_keyword_arguments_reach_the_model_and_the_inputs(x):
    class Takes(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Odd(lambda x, *, scale: x * scale)
            self.inner.forward = lambda x, *, scale: x * scale

        def forward(self, image, scale=1):
            return self.inner(image, scale=scale)

    model = Takes()
    assert torch.equal(features(model, {"image": x, "scale": 3}, "inner")["inner"], x * 3)
    assert torch.equal(features(model, (x, 2), "inner")["inner"], x * 2)
    with capture(model, "inner", inputs=True) as seen:
        model(x, scale=2)
    assert seen.inputs["inner"].kwargs == {"scale": 2}


def test_a_hook_of_the_user_s_that_changes_the_output_is_respected_and_stays(model, x):
    model.linear.register_forward_hook(lambda module, given, output: output * 0)
    before = hooks(model)
    assert not features(model, x, "linear")["linear"].any()
    assert hooks(model) == before


def test_a_hook_that_the_user_sets_meanwhile_does_not_lose_the_inputs(model, x):
    with capture(model, "linear", inputs=True) as seen:
        model.linear.register_forward_pre_hook(lambda module, args, kwargs: (args, dict(kwargs)), with_kwargs=True)
        model(x)
    assert torch.equal(seen.inputs["linear"][0], x)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_of_ours_remains_when_the_forward_ends_early(model, x, error):
    model.train()
    model.relu.eval()
    before = copy.deepcopy(model.__dict__), [module.training for module in every(model)]

    def fail(*_):
        raise error

    handle = model.relu_1.register_forward_hook(fail)
    with pytest.raises(error):
        features(model, x, "unused", mode="eval")
    with pytest.raises(error), capture(model, "**", inputs=True, grads=True):
        model(x)
    handle.remove()
    assert hooks(model) == 0
    assert [module.training for module in every(model)] == before[1]
    assert model.__dict__.keys() == before[0].keys()


def test_an_error_inside_one_call_does_not_mix_up_the_inputs_of_the_next(x):
    def sometimes(value):
        if value.sum() == 0:
            raise ValueError
        return value

    model = nn.Sequential(Odd(sometimes))
    with capture(model, "0", inputs=True) as seen:
        with pytest.raises(ValueError):
            model(torch.zeros(1))
        model(torch.ones(1))
    assert torch.equal(seen.inputs["0"][0], torch.ones(1))


def test_the_model_s_own_except_exception_does_not_stop_the_early_stop(x):
    ran = []

    class Careful(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Tanh(), Odd(lambda x: ran.append(1) or x)

        def forward(self, x):
            try:
                x = self.a(x)
            except Exception:
                x = None
            return self.b(x)

    assert torch.equal(features(Careful(), x, "a")["a"], x.tanh())
    assert not ran


def test_a_forward_that_switches_for_a_while_is_switched_back_when_it_is_stopped(x):
    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.last = nn.BatchNorm1d(4), nn.Linear(4, 2)

        def forward(self, x):
            was, recording = self.norm.training, torch.is_grad_enabled()
            self.norm.eval()
            torch.set_grad_enabled(False)
            x = self.norm(x)
            torch.set_grad_enabled(recording)
            self.norm.train(was)
            return self.last(x)

    model = Frozen()
    with torch.enable_grad():
        features(model, x, "norm")
        assert model.norm.training
        assert torch.is_grad_enabled()


def test_a_model_that_holds_an_extractor_is_stopped_inside_it(x):
    class Head(nn.Module):
        def __init__(self, backbone):
            super().__init__()
            self.backbone, self.last = extractor(backbone, "1"), nn.Linear(4, 2)

        def forward(self, x):
            return self.last(self.backbone(x)["1"])

    model = Head(nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)))
    name = "backbone.net.model.0"
    assert torch.equal(features(model, x, name)[name], model.get_submodule(name)(x))
    assert hooks(model) == 0


def test_mode_eval_moves_no_statistics_and_gives_eval_values(x):
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout())
    before = copy.deepcopy(model.state_dict())
    got = features(model, x, "1", mode="eval")["1"]
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(module.training for module in every(model))
    assert torch.equal(got, copy.deepcopy(model).eval()(x))


def test_running_as_is_warns_when_statistics_moved_and_only_then(x, recwarn):
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    features(model, x, "0")
    assert not recwarn.list
    with pytest.warns(UserWarning, match="moved the running statistics of 1 BatchNorm") as caught:
        features(model, x, "1")
    assert caught[0].filename == __file__


def test_detach_keeps_no_graph_alive_and_the_default_can_be_trained_through(model, x):
    with capture(model, "linear", detach=True) as seen:
        model(x)
    assert seen["linear"].grad_fn is None
    with capture(model, "linear") as seen:
        model(x)
    seen["linear"].sum().backward()
    assert torch.equal(model.linear.weight.grad, x.sum(0).expand(4, 4))


def test_to_moves_what_is_kept(model, x):
    with capture(model, "linear", to="meta") as seen:
        model(x)
    assert seen["linear"].device.type == "meta"


def test_nothing_keeps_the_model_s_tensors_alive_afterwards(model, x):
    with capture(model, "**", grads=True) as seen:
        out = model(x)
        out.sum().backward()
    alive = weakref.ref(out)
    del out, seen
    gc.collect()
    assert alive() is None


def test_a_module_under_two_names_is_kept_under_each_that_was_asked(x):
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.Tanh(), shared)
    with capture(model, ["0", "2"]) as seen:
        model(x)
    first = shared(x)
    assert torch.equal(seen["0"], first)
    assert torch.equal(seen["2"], first)
    assert torch.equal(seen["2_1"], shared(first.tanh()))


def test_threads_do_not_mix_up_their_values(model):
    results, start = {}, threading.Barrier(6)

    def work(number):
        mine = torch.full((2, 4), float(number))
        start.wait()
        for _ in range(30):
            with capture(model, "linear", inputs=True) as seen:
                model(mine)
            good = torch.equal(seen.inputs["linear"][0], mine) and len(seen) == 1
            results[number] = results.get(number, True) and good

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert results == dict.fromkeys(range(6), True)
    assert hooks(model) == 0


@pytest.mark.parametrize("make", [lambda model: lambda x: features(model, x, "2", mode="eval")["2"], None])
def test_threads_in_eval_mode_all_compute_in_eval_and_the_last_puts_back(x, make):
    pauses = itertools.cycle([0.001, 0.004, 0.002])  # so that each begins while another is under way
    model = nn.Sequential(nn.BatchNorm1d(4), Odd(lambda x: time.sleep(next(pauses)) or x), nn.Dropout(), nn.Tanh())
    expected, before = copy.deepcopy(model[0]).eval()(x), copy.deepcopy(model.state_dict())
    made = extractor(model, "2", mode="eval")
    run, good, start = make(model) if make else lambda x: made(x)["2"], [], threading.Barrier(4)

    def work():
        start.wait()
        for _ in range(10):
            good.append(torch.equal(run(x), expected))

    threads = [threading.Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert good == [True] * 40
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_modules_that_say_they_are_equal_are_told_apart(x):
    class Times(nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.factor = factor

        def __eq__(self, other):
            return type(self) is type(other)

        def __hash__(self):
            return 1

        def forward(self, x):
            return x * self.factor

    model = nn.Sequential(Times(2), Times(3))
    got = features(model, x, ["0", "1"])
    assert torch.equal(got["0"], 2 * x)
    assert torch.equal(got["1"], 2 * x * 3)


def test_an_attribute_of_the_class_does_not_hide_a_submodule(x):
    class Hidden(nn.Module):
        head = property(lambda self: "no module")

        def __init__(self):
            super().__init__()
            self._modules["head"] = nn.Tanh()

        def forward(self, x):
            return self._modules["head"](x)

    assert torch.equal(features(Hidden(), x, "head")["head"], x.tanh())
    with pytest.raises(NeverRan, match="not called often enough for 'head_1'"):
        features(Hidden(), x, "head_1")


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_a_scripted_submodule_is_refused_in_words(x):
    model = nn.Sequential(torch.jit.script(nn.Linear(4, 4)), nn.Tanh())
    with pytest.raises(ValueError, match="'0' is TorchScript, which takes no hooks. Give the model from before"):
        features(model, x, "0")
    with pytest.raises(ValueError, match="'0' is TorchScript"), capture(model, "**", inputs=True):
        pass
    assert torch.equal(features(model, x, "1")["1"], model(x))


def test_a_copy_made_meanwhile_is_another_model(model, x):
    with capture(model, "linear", inputs=True) as seen:
        twin = copy.deepcopy(model)
        twin.linear.weight.data.zero_()
        twin(x)
        model(x)
        twin(x)
    assert list(seen) == list(seen.inputs) == ["linear"]
    assert torch.equal(seen["linear"], model.linear(x))


def test_a_compiled_model_is_seen_too_and_stays_compiled(model, x):
    runs = []

    def backend(graph, inputs):
        def run(*args):
            runs.append(1)
            return graph.forward(*args)

        return run

    compiled = torch.compile(model, backend=backend)
    expected = compiled(x)
    before = len(runs)
    assert torch.equal(features(compiled, x, "_orig_mod.linear")["_orig_mod.linear"], model.linear(x))
    assert len(runs) == before
    assert torch.equal(compiled(x), expected)
    assert len(runs) == before + 1
    model.linear.compile(backend=backend)
    assert torch.equal(features(model, x, "linear")["linear"], F.linear(x, model.linear.weight, model.linear.bias))


@pytest.mark.parametrize(
    "context",
    [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", dtype=torch.bfloat16), torch.enable_grad],
)
def test_works_under_every_grad_mode_and_autocast(model, x, context):
    with context():
        got = features(model, x, "linear")["linear"]
        assert torch.equal(got, model.linear(x))


def test_data_parallel_without_gpus_works(model, x):
    parallel = nn.DataParallel(model)
    if len(parallel.device_ids) > 1:
        with pytest.raises(ValueError, match="Give model.module instead"):
            features(parallel, x, "module.linear")
    else:
        device = next(model.parameters()).device
        got = features(parallel, x.to(device), "module.linear")["module.linear"]
        assert torch.allclose(got, model.linear(x.to(device)))


def test_shapes_notes_each_call_in_words_and_keeps_no_tensor(model, x):
    with shapes(model) as seen:
        model(x)
        assert hooks(model) > 0
    assert hooks(model) == 0
    assert seen[model.linear] == [("(5, 4) float32", "(5, 4) float32")]
    assert len(seen[model.relu]) == 3
    assert model.unused not in seen
    assert seen[model] == seen[model.linear]


def test_shapes_notes_keyword_arguments_too():
    attention = nn.MultiheadAttention(4, 2)
    with shapes(attention) as seen:
        attention(key=torch.zeros(2, 1, 4), value=torch.zeros(2, 1, 4), query=torch.zeros(3, 1, 4))
    (call,) = seen[attention]
    assert call[0] == "(2, 1, 4) float32, (2, 1, 4) float32, (3, 1, 4) float32"
    assert call[1] == "tuple of 2: (3, 1, 4) float32, (1, 3, 2) float32"


def test_shapes_may_end_while_another_thread_is_in_a_hooked_module():
    model, inside, ended, failed = nn.Identity(), threading.Event(), threading.Event(), []

    def linger(module, args, output):
        inside.set()
        ended.wait(10)

    def work():
        try:
            model(torch.ones(2))
        except Exception as error:
            failed.append(error)

    model.register_forward_hook(linger)
    with shapes(model) as seen:
        thread = threading.Thread(target=work)
        thread.start()
        inside.wait(10)
    ended.set()
    thread.join()
    assert not failed and not seen


def test_shapes_keeps_what_ran_before_an_exception(model, x):
    with pytest.raises(KeyboardInterrupt), shapes(model) as seen:
        model.linear(x)
        raise KeyboardInterrupt
    assert list(seen) == [model.linear]
    assert hooks(model) == 0


def test_labels_name_the_calls_as_capture_does(model, x):
    with capture(model, "relu") as seen:
        model(x)
    assert list(itertools.islice(labels(model, "relu"), 3)) == list(seen) == ["relu", "relu_2", "relu_3"]


def test_lazy_modules_are_seen_at_their_first_call(x):
    model = nn.Sequential(nn.LazyLinear(3), nn.ReLU())
    assert features(model, x, "0")["0"].shape == (5, 3)
    assert type(model[0]) is nn.Linear


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "vit_b_16", "densenet121"])
def test_agrees_with_torchvision_s_fx_on_real_models(name):
    from torchvision.models.feature_extraction import create_feature_extractor

    model = getattr(torchvision.models, name)(weights=None, **({"init_weights": False} if name == "googlenet" else {}))
    model.eval()
    asked = {
        "resnet18": ["maxpool", "layer1.0.relu", "layer1.0.relu_1", "layer3.0.downsample", "avgpool"],
        "googlenet": ["conv2", "inception4a.branch2.1.conv", "avgpool"],
        "vit_b_16": ["encoder.layers.encoder_layer_3.mlp", "encoder.ln"],
        "densenet121": ["features.denseblock1.denselayer2.conv1", "features.norm5"],
    }[name]
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        ours = features(model, x, asked)
        theirs = create_feature_extractor(model, asked)(x)
    for key in asked:
        assert torch.equal(ours[key], theirs[key]), key
