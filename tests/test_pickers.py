"""The layer picker, driven through Python as a notebook's cells and a browser would drive it."""

import gc
import math
import re
import weakref

import pytest
import torch
import torchvision
import traitlets
from torch import nn

from featlab.absences import NeverRan
from featlab.pickers import LayerPicker
from featlab.selectors import UnknownName, every

VIEW = "application/vnd.jupyter.widget-view+json"


class Net(nn.Module):
    """A convolution, a ReLU used twice, a pair of outputs, and a layer that never runs."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 70, 3)
        self.relu = nn.ReLU(inplace=True)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(70 * 36, 5))
        self.never = nn.Linear(1, 1)
        self.forwards = 0

    def forward(self, x):
        self.forwards += 1
        return self.relu(self.body(self.relu(self.conv(x))))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Net()


@pytest.fixture
def x():
    return torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def picker(model, x):
    return LayerPicker(model, x)


def act(picker: LayerPicker, **content) -> None:
    """Send what the browser sends."""
    picker._handle_custom_msg(content, [])


def test_nothing_is_picked_at_first(picker, model):
    assert (picker.value, picker.names, picker.features) == (None, [], {})
    assert "Pick a layer" in picker.panel["says"]
    assert model.forwards == 1
    with pytest.raises(LookupError, match="Nothing is picked yet"):
        picker.feature  # noqa: B018


def test_the_tree_goes_to_the_browser_as_columns(picker):
    tree = picker.tree
    assert tree["title"] == "Net, 6 submodules, 13.3 K parameters, given (3, 1, 8, 8) float32"

    def words(key):
        return [tree["words"][index] for index in tree[key]]

    assert words("names") == ["conv", "relu", "body", "0", "1", "never"]
    assert tree["depths"] == [0, 0, 0, 1, 1, 0]
    assert words("kinds")[:2] == ["Conv2d", "ReLU"]
    assert words("sizes") == ["700", "", "12.6 K", "", "12.6 K", "2"]
    assert words("outputs") == ["(3, 70, 6, 6)", "(3, 70, 6, 6)", "(3, 5)", "(3, 2520)", "(3, 5)", "never ran"]
    assert words("marks")[1] == "● train  ×2 calls"


def test_a_pick_shows_a_picture_and_gives_the_feature(picker, model, x):
    act(picker, pick="conv")
    assert (picker.value, picker.names, picker.heard) == ("conv", ["conv"], 1)
    assert picker.panel["png"].startswith(b"\x89PNG")
    assert picker.panel["line"].startswith("(3, 70, 6, 6) float32 · from -")
    assert "Channels 0 to 63 of 70, image 0 of 3" in picker.panel["caption"]
    assert picker.panel["line"] in picker.panel["alt"]
    assert picker.panel["more"] is None
    assert torch.equal(picker.feature, model.conv(x))
    assert model.forwards == 2


def test_a_layer_seen_again_runs_no_forward(picker, model):
    for name in ("conv", "body", "conv", "body"):
        act(picker, pick=name)
    assert model.forwards == 3


def test_the_feature_is_the_user_s_own(picker):
    picker.value = "conv"
    picker.feature.zero_()
    assert picker.feature.any()
    assert not picker.feature.requires_grad


def test_setting_the_value_picks_it_alone(picker):
    picker.names = ["conv", "body"]
    picker.value = "body.1"
    assert picker.names == ["body.1"]
    assert picker.panel["name"] == "body.1"
    picker.value = None
    assert picker.names == []
    assert "Pick a layer" in picker.panel["says"]


@pytest.mark.parametrize("setting", [("value", "cnov"), ("names", ["body", "cnov"])])
def test_an_unknown_name_changes_nothing(picker, setting):
    picker.value = "body"
    before = picker.panel
    with pytest.raises(UnknownName, match="Near: conv"):
        setattr(picker, *setting)
    assert (picker.value, picker.names, picker.panel) == ("body", ["body"], before)
    act(picker, pick="cnov")
    assert (picker.value, picker.names) == ("body", ["body"])
    assert "UnknownName" in picker.panel["says"]


def test_values_of_another_type_are_refused(picker):
    with pytest.raises(traitlets.TraitError):
        picker.value = 3


def test_several_are_picked_in_model_order(picker, model):
    for name in ("body", "conv", "never"):
        act(picker, toggle=name)
    assert picker.names == ["conv", "body", "never"]
    assert picker.value == "never"
    act(picker, toggle="never")
    assert (picker.names, picker.value) == (["conv", "body"], "body")
    assert {name: value.shape for name, value in picker.features.items()} == {"conv": (3, 70, 6, 6), "body": (3, 5)}
    act(picker, toggle="conv")
    assert (picker.names, picker.value) == (["body"], "body")
    act(picker, toggle="body")
    assert (picker.names, picker.value) == ([], None)


def test_each_call_of_a_reused_module_can_be_seen(picker, model, x):
    act(picker, pick="relu")
    assert picker.panel["steps"][0] == {"key": "call", "at": 0, "of": 2, "text": "call 1 of 2"}
    act(picker, step="call", by=1)
    assert picker.value == "relu_1"
    assert torch.equal(picker.feature, model(x).detach())
    act(picker, step="call", by=1)
    assert picker.value == "relu"
    with pytest.raises(UnknownName):
        picker.value = "relu_2"


def test_images_and_channels_are_stepped_through(picker):
    act(picker, pick="conv")
    act(picker, step="page", by=1)
    assert "Channels 64 to 69 of 70, image 0 of 3" in picker.panel["caption"]
    act(picker, step="image", by=-1)
    assert "Channels 64 to 69 of 70, image 2 of 3" in picker.panel["caption"]
    act(picker, pick="relu")
    assert "Channels 0 to 63 of 70, image 2 of 3" in picker.panel["caption"]


def test_the_rest_is_shown_on_request_and_stays(picker):
    act(picker, pick="body.1")
    act(picker, more=True)
    facts = dict(picker.panel["more"]["facts"])
    assert facts["given"] == "(3, 2520) float32"
    assert facts["parameters"] == "12,605"
    assert facts["module"].startswith("Linear(in_features=2520")
    assert "mean and std" in facts
    assert sum(picker.panel["more"]["histogram"]["counts"]) == 15
    act(picker, pick="conv")
    assert picker.panel["more"]["facts"]
    act(picker, more=False)
    assert picker.panel["more"] is None


def test_a_layer_that_never_ran_says_so(picker):
    act(picker, pick="never")
    assert picker.panel["says"].startswith("'never' (Linear) never ran. Likely reasons")
    assert "png" not in picker.panel
    with pytest.raises(NeverRan):
        picker.feature  # noqa: B018
    act(picker, pick="conv")
    assert picker.panel["png"]


def test_an_error_of_the_model_is_shown_and_raised_only_where_asked_for(model, x):
    picker = LayerPicker(model, x[:, :, :7])
    assert picker.tree["error"].startswith("The model raised on this input. RuntimeError in body.1 (Linear): ")
    picker.value = "conv"
    assert picker.panel["png"]
    picker.value = "body"
    assert picker.panel["says"].startswith("RuntimeError in body.1 (Linear): ")
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        picker.feature  # noqa: B018
    assert "The model raised on this input. RuntimeError in body.1" in repr(picker)


def test_an_interrupt_passes_and_the_widget_goes_on(picker, model):
    def interrupt(*_):
        raise KeyboardInterrupt

    handle = model.conv.register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        act(picker, pick="relu")
    assert "Interrupted" in picker.panel["says"]
    assert picker.heard == 1
    handle.remove()
    act(picker, pick="relu")
    picker.refresh()
    assert picker.panel["png"]
    assert all(len(module._forward_hooks) == 0 for module in every(model))


def test_without_an_input_the_tree_is_shown(model):
    picker = LayerPicker(model)
    act(picker, pick="conv")
    assert picker.value == "conv"
    assert "LayerPicker(model, x)" in picker.panel["says"]
    assert model.forwards == 0
    with pytest.raises(LookupError, match="no input"):
        picker.feature  # noqa: B018


def test_a_trained_model_shows_its_new_values(picker, model, x):
    picker.value = "conv"
    before = picker.panel["png"]
    with torch.no_grad():
        model.conv.weight.neg_()
    assert torch.equal(picker.feature, model.conv(x))
    assert picker.panel["png"] != before


def test_refresh_shows_new_marks_and_forgets_what_has_gone(picker, model):
    picker.names = ["body.1", "never"]
    model.eval().requires_grad_(False)
    del model.never
    picker.refresh()
    assert "○ eval  ■ frozen" in picker.tree["words"]
    assert "● train" not in picker.tree["words"]
    assert (picker.names, picker.value) == (["body.1"], "body.1")
    assert picker.panel["png"]


def test_odd_outputs_are_shown():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            kinds = ("pair", "nothing", "nan", "empty", "number", "complex", "flags", "attention")
            for kind in kinds:
                setattr(self, kind, nn.Identity())

        def forward(self, x):
            self.pair((x, {"mask": x > 0}))
            self.nothing(None)
            self.nan(x * math.nan)
            self.empty(x[:0])
            self.number(x.sum())
            self.complex(torch.complex(x, x))
            self.flags(x > 0)
            return self.attention(torch.randn(3, 2, 4, 4).softmax(-1))

    picker = LayerPicker(Odd(), torch.randn(3, 4))
    for row in range(len(picker.tree["names"])):
        name = picker.tree["words"][picker.tree["names"][row]]
        act(picker, pick=name)
        assert picker.panel.get("caption"), picker.panel
        assert repr(picker).count(name) >= 3
    act(picker, pick="pair")
    act(picker, step="part", by=1)
    assert "Part [1]['mask']" in picker.panel["caption"]
    assert picker.panel["line"].startswith("(3, 4) bool")
    assert isinstance(picker.feature, tuple)


@pytest.mark.parametrize(
    "sent", [{}, [], "pick", {"other": 1}, {"step": "image"}, {"step": "call", "by": 1}, {"pick": 3}]
)
def test_messages_that_make_no_sense_do_no_harm(picker, sent):
    picker._handle_custom_msg(sent, [])
    assert picker.value is None
    act(picker, pick="conv")
    assert picker.panel["png"]


def test_the_static_faces_show_the_same_tree(picker):
    picker.value = "conv"
    text, html = repr(picker), picker._repr_html_()
    assert re.search(r"^body +Sequential +12.6 K +\(3, 5\) +● train$", text, re.M)
    assert re.search(r"^  1 +Linear +12.6 K +\(3, 5\) +● train$", text, re.M)
    assert text.splitlines()[-1].startswith("conv: (3, 70, 6, 6) float32 · from -")
    for line in text.splitlines()[3:9]:
        for word in line.split():
            assert word in html
    assert '<img alt="Channels 0 to 63 of 70, image 0 of 3.' in html
    assert picker.panel["caption"] in html


def test_the_static_faces_leave_out_what_no_page_could_bear():
    picker = LayerPicker(nn.Sequential(*[nn.Sequential(nn.Identity()) for _ in range(2000)]))
    for face in (repr(picker), picker._repr_html_()):
        assert "3,800 more" in face
        assert face.count("Identity") == 100


def test_names_are_text_in_html():
    picker = LayerPicker(nn.ModuleDict({"<b>bold": nn.Identity()}))
    picker.value = "<b>bold"
    assert "<b>bold" not in picker._repr_html_()
    assert "&lt;b&gt;bold" in picker._repr_html_()


def test_the_bundle_holds_all_three_faces_and_no_address(picker):
    picker.value = "conv"
    data, _ = picker._repr_mimebundle_()
    assert data.keys() >= {"text/plain", "text/html", VIEW}
    assert data["text/plain"] == repr(picker)
    assert data["text/html"] == picker._repr_html_()
    assert not re.search(r"0x[0-9a-f]{6}", data["text/plain"] + data["text/html"])
    assert data[VIEW]["model_id"] == picker.model_id


def test_the_faces_are_the_same_each_time(model, x):
    faces = set()
    for _ in range(2):
        picker = LayerPicker(model, x)
        picker.value = "body"
        faces.add((repr(picker), picker._repr_html_()))
    assert len(faces) == 1


def test_others_can_follow_the_value(picker):
    told = []
    picker.observe(lambda change: told.append(change["new"]), names="value")
    act(picker, pick="conv")
    picker.value = "relu"
    assert told == ["conv", "relu"]


@pytest.mark.parametrize("name", ["resnet18", "vit_b_16", "deeplabv3_mobilenet_v3_large", "r3d_18"])
def test_it_builds_for_real_models(name):
    models = torchvision.models
    kinds = {"deeplabv3_mobilenet_v3_large": models.segmentation, "r3d_18": models.video}
    more = {"weights_backbone": None} if "deeplab" in name else {}
    model = getattr(kinds.get(name, models), name)(weights=None, **more)
    shape = {"vit_b_16": (1, 3, 224, 224), "r3d_18": (1, 3, 4, 32, 32)}.get(name, (2, 3, 64, 64))
    picker = LayerPicker(model.train(), torch.randn(shape))
    assert not picker.tree["error"]
    ran = [row for row, words in enumerate(picker.tree["outputs"]) if picker.tree["words"][words] != "never ran"]
    for row in ran[:: len(ran) // 4]:
        picker.value = picker._onlooker.outline.names[row]
        assert picker.panel["line"], picker.panel


def test_it_needs_a_model():
    with pytest.raises(TypeError, match="looks into an nn.Module"):
        LayerPicker(nn.Linear)


def test_compiled_scripted_and_replicated_models_work_or_say_why():
    model, x = nn.Sequential(nn.Linear(4, 4), nn.ReLU()), torch.randn(3, 4)
    compiled = torch.compile(model, backend="eager")
    compiled(x)
    picker = LayerPicker(compiled, x)
    picker.value = "_orig_mod.0"
    assert torch.equal(picker.feature, model[0](x))
    picker = LayerPicker(nn.DataParallel(model), x.cpu()) if not torch.cuda.is_available() else None
    if picker:
        picker.value = "module.0"
        assert torch.equal(picker.feature, model[0](x))
    scripted = torch.jit.script(model)
    for holder, name in ((nn.Sequential(scripted), "0.0"), (nn.Sequential(scripted), "0"), (scripted, "0")):
        picker = LayerPicker(holder, x)
        picker.value = name
        assert "TorchScript" in picker.panel["says"]


def test_a_closed_picker_lets_go_of_its_model():
    model = nn.Sequential(nn.Linear(4, 4))
    picker, gone = LayerPicker(model, torch.ones(2, 4)), weakref.ref(model)
    picker.value = "0"
    picker.close()
    del picker, model
    gc.collect()
    assert gone() is None
