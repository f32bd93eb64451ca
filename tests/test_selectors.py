import pytest
import torchvision
from torch import nn

from featlab.selectors import UnknownName, every, names, walk


@pytest.fixture(scope="module")
def resnet():
    return torchvision.models.resnet18()


def test_all_names_are_those_of_named_modules_without_the_root(resnet):
    assert names(resnet) == [name for name, _ in resnet.named_modules() if name]


def test_a_star_stays_within_one_component_and_two_stars_cross_dots(resnet):
    assert names(resnet, "layer?") == ["layer1", "layer2", "layer3", "layer4"]
    assert names(resnet, "layer1.*.conv1") == ["layer1.0.conv1", "layer1.1.conv1"]
    assert names(resnet, "layer1.**") == [n for n, _ in resnet.named_modules() if n.startswith("layer1.")]
    assert names(resnet, "**.bn1")[:2] == ["bn1", "layer1.0.bn1"]
    assert names(resnet, "layer[!12]") == ["layer3", "layer4"]


def test_a_class_finds_its_instances_and_those_of_its_subclasses(resnet):
    expected = [name for name, module in resnet.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert names(resnet, nn.BatchNorm2d) == expected == names(resnet, nn.modules.batchnorm._BatchNorm)


def test_a_list_comes_back_in_model_order_and_without_repeats(resnet):
    assert names(resnet, ["fc", "conv1", nn.Linear, "layer?"]) == [
        "conv1",
        "layer1",
        "layer2",
        "layer3",
        "layer4",
        "fc",
    ]


@pytest.mark.parametrize(
    ("selector", "says"),
    [
        ("layer1.0.rleu", r"ResNet has no submodule 'layer1.0.rleu'. Near: layer1.0.relu.* lists all 67"),
        ("downsample", r"no submodule 'downsample'. Near: layer2.0.downsample"),
        ("layer9*", r"no submodule 'layer9\*'"),
        (nn.LSTM, "no submodule of class LSTM"),
        (["conv1", "nope_at_all"], "no submodule 'nope_at_all'"),
        ("", "no submodule ''"),
    ],
)
def test_no_match_is_an_unknown_name_that_suggests_near_ones(resnet, selector, says):
    with pytest.raises(UnknownName, match=says) as error:
        names(resnet, selector)
    assert isinstance(error.value, LookupError)


@pytest.mark.parametrize("selector", [3, None, [], [3], ["conv1", None], {"conv1": 1}, int])
def test_another_type_of_selector_is_refused_in_words(resnet, selector):
    with pytest.raises(TypeError, match="a selector is a name, a glob, a module class or a list of these"):
        names(resnet, selector)


@pytest.mark.parametrize(("model", "says"), [(nn.ReLU, "the class ReLU"), (print, "builtin"), (None, "NoneType")])
def test_what_is_no_module_is_refused_in_words(model, says):
    with pytest.raises(TypeError, match=says):
        names(model, "x")


def test_a_shared_submodule_is_listed_once_by_a_glob_and_under_each_name_in_full():
    shared = nn.Linear(2, 2)
    model = nn.ModuleDict({"encoder": nn.Sequential(shared), "decoder": nn.Sequential(shared)})
    assert names(model, "**") == ["encoder", "encoder.0", "decoder"]
    assert names(model, "decoder.*") == ["decoder.0"]
    assert names(model, ["decoder.0", "encoder.0"]) == ["encoder.0", "decoder.0"]


def test_a_submodule_that_holds_its_own_parent_ends_all_the_same():
    model = nn.Sequential(nn.ReLU())
    model[0].parent = model
    assert names(model) == ["0"]
    assert len(every(model)) == 2


def test_a_name_with_a_glob_s_characters_is_taken_as_it_is():
    model = nn.ModuleDict({"a*": nn.ReLU(), "ab": nn.Tanh()})
    assert names(model, "a*") == ["a*"]


def test_walk_skips_empty_places():
    model = nn.Module()
    model.gone = None
    model.register_module("also", None)
    model.here = nn.ReLU()
    assert [name for name, _ in walk(model)] == ["here"]


def test_every_is_the_set_of_modules(resnet):
    assert {id(m) for m in every(resnet)} == {id(m) for m in resnet.modules()}


def test_brackets_around_nonsense_are_an_unknown_name(resnet):
    with pytest.raises(UnknownName, match="no submodule 'layer.z-a.'"):
        names(resnet, "layer[z-a]")
