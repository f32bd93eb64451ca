"""Data and models: what sklearn, torchvision and files on disk hold is what the calls return, or they say why not."""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import weights
from sklearn.datasets import load_digits

from featlab import samples

CARD = json.loads(Path(samples.__file__).with_name("weights").joinpath("digits_net.json").read_text("utf-8"))


@pytest.fixture
def generators_stay_put():
    def states():
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002

    before = states()
    yield
    assert states() == before


def rows(images, labels) -> list[bytes]:
    """Make scans comparable as a sorted list, whatever their order."""
    pairs = zip(images.astype(np.uint8), labels, strict=True)
    return sorted(image.tobytes() + bytes([label]) for image, label in pairs)


def accuracy(model) -> float:
    images, labels = samples.digits().test
    model.eval()
    with torch.no_grad():
        return (model(images).argmax(1) == labels).float().mean().item()


# digits


def test_digits_are_every_scan_of_sklearn_once(generators_stay_put):
    train, test = samples.digits()
    scans = load_digits()
    images, labels = torch.cat([train.images, test.images]) * 16, torch.cat([train.labels, test.labels])
    assert rows(images.numpy(), labels.tolist()) == rows(scans.images, scans.target.tolist())
    assert (len(train.labels), len(test.labels)) == (1352, 445)


def test_digits_have_the_documented_axes_dtypes_and_range():
    for images, labels in samples.digits():
        assert images.shape == (len(labels), 1, 8, 8)
        assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
        assert (images.min(), images.max()) == (0, 1)


def test_each_class_gives_a_quarter_of_its_scans_to_the_test():
    train, test = samples.digits()
    for_test, all_of_it = test.labels.bincount(), torch.cat([train.labels, test.labels]).bincount()
    assert for_test.tolist() == (all_of_it // 4).tolist()


def test_no_scan_of_the_test_is_in_train():
    train, test = samples.digits()
    assert torch.cdist(test.images.flatten(1), train.images.flatten(1)).min() > 0


def test_writing_into_digits_spoils_no_later_call():
    first = samples.digits()
    kept = [tensor.clone() for split in first for tensor in split]
    for split in first:
        split.images.zero_()
        split.labels.zero_()
    again = [tensor for split in samples.digits() for tensor in split]
    assert all(map(torch.equal, kept, again))


def test_the_second_call_reads_no_file(monkeypatch):
    samples.digits()
    monkeypatch.setattr("sklearn.datasets.load_digits", None)
    samples.digits()


def test_a_first_call_inside_inference_mode_leaves_later_ones_usable():
    samples._scans.cache_clear()
    with torch.inference_mode():
        samples.digits()
    assert not samples.digits().train.images.is_inference()


# the digits network


def test_the_card_beside_the_weights_tells_the_truth():
    model = samples.digits_net()
    images, labels = samples.digits().test
    with torch.no_grad():
        correct = (model(images).argmax(1) == labels).sum().item()
    assert abs(correct - CARD["test_correct"]) <= 1  # another CPU may round one example to the other side
    assert CARD["test_images"] == len(labels) == 445
    assert CARD["test_accuracy"] == pytest.approx(CARD["test_correct"] / 445, abs=5e-5)
    assert CARD["test_accuracy"] > 0.97
    assert CARD["parameters"] == sum(parameter.numel() for parameter in model.parameters())


def test_the_low_digits_network_reads_0_to_4_and_has_never_seen_the_others(generators_stay_put):
    model, card = samples.low_digits_net(), json.loads((samples._WEIGHTS / "low_digits_net.json").read_text("utf-8"))
    images, labels = samples.digits().test
    low = labels < 5
    with torch.no_grad():
        scores = model(images)
    assert scores.shape == (445, 5) and not any(module.training for module in model.modules())
    correct = (scores[low].argmax(1) == labels[low]).sum().item()
    assert abs(correct - card["test_correct"]) <= 1 and card["test_images"] == low.sum().item()
    assert card["test_accuracy"] > 0.97


def test_stored_weights_stay_under_a_megabyte():
    files = list(samples._WEIGHTS.iterdir())
    names = {f"{name}.{kind}" for name in ("digits_net", "low_digits_net") for kind in ("safetensors", "json")}
    assert {file.name for file in files} >= names
    assert all(file.stat().st_size < 1_000_000 for file in files)


def test_the_pretrained_network_is_an_ordinary_learnable_module_in_eval_mode(generators_stay_put):
    model = samples.digits_net()
    assert {module.training for module in model.modules()} == {False}
    assert all(type(p) is torch.nn.Parameter and p.requires_grad and p.is_leaf for p in model.parameters())
    model(samples.digits().test.images[:2]).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_two_pretrained_networks_share_no_memory():
    first, second = samples.digits_net(), samples.digits_net()
    for tensor in first.state_dict().values():
        tensor.zero_()
    assert accuracy(second) > 0.97


def test_the_pretrained_network_is_float32_on_the_cpu_whatever_the_defaults():
    expected = samples.digits_net().state_dict()
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        model, photo, images = samples.digits_net(), samples.photo(16), samples.digits().test.images
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
    assert {(tensor.device.type, tensor.dtype) for tensor in (photo, images)} == {("cpu", torch.float32)}


def test_a_fresh_network_is_in_train_mode_and_drawn_as_any_module():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = samples.digits_net(pretrained=False)
        torch.manual_seed(3)
        again = samples.DigitsNet()
    assert {module.training for module in model.modules()} == {True}
    assert all(map(torch.equal, model.parameters(), again.parameters()))


def test_the_network_computes_what_its_picture_says():
    """By hand, from the stored tensors alone: stem, two residual blocks, mean over H and W, linear."""
    model, x = samples.digits_net(), samples.digits().test.images[:5]
    kept = model.state_dict()

    def bn(x, name):
        mean, var, weight, bias = (
            kept[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def conv(x, name, **options):
        return F.conv2d(x, kept[f"{name}.weight"], **options)

    x = bn(conv(x, "stem.conv", padding=1), "stem.bn").relu()
    change = bn(conv(x, "block1.conv1", padding=1), "block1.bn1").relu()
    x = (x + bn(conv(change, "block1.conv2", padding=1), "block1.bn2")).relu()
    change = bn(conv(x, "block2.conv1", padding=1, stride=2), "block2.bn1").relu()
    change = bn(conv(change, "block2.conv2", padding=1), "block2.bn2")
    x = (bn(conv(x, "block2.shortcut.conv", stride=2), "block2.shortcut.bn") + change).relu()
    logits = x.mean((2, 3)) @ kept["head.linear.weight"].T + kept["head.linear.bias"]
    torch.testing.assert_close(model(samples.digits().test.images[:5]), logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_one_unscaled_batch_ruins_the_frozen_network_and_clean_ones_mend_it(seed):
    model, images = samples.digits_net().requires_grad_(False), samples.digits().train.images
    before = [parameter.clone() for parameter in model.parameters()]
    model.head.dropout.p = 0.0  # so that this test leaves the random generator alone
    draw = torch.Generator().manual_seed(seed)

    def forward_in_train_mode(scale):
        model.train()
        with torch.no_grad():
            model(scale * images[torch.randperm(len(images), generator=draw)[:64]])

    forward_in_train_mode(16)
    assert accuracy(model) < 0.4
    for _ in range(60):
        forward_in_train_mode(1)
    assert accuracy(model) > 0.97
    assert all(map(torch.equal, before, model.parameters()))


def cut(file):
    file.write_bytes(file.read_bytes()[:-100])


def flip_one_bit(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def remove(file):
    file.unlink()


def spoil_the_card(file):
    file.with_suffix(".json").write_text("{")


@pytest.mark.parametrize("spoil", [cut, flip_one_bit, remove, spoil_the_card])
def test_damaged_weights_are_named_and_not_used(spoil, tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "_WEIGHTS", tmp_path)
    for file in Path(samples.__file__).with_name("weights").iterdir():
        shutil.copy(file, tmp_path)
    samples.digits_net()
    spoil(tmp_path / "digits_net.safetensors")
    with pytest.raises(samples.NotAvailable, match=r"digits_net\.safetensors.*make weights.*reinstall"):
        samples.digits_net()


@pytest.fixture
def torch_settings_put_back():
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def test_training_from_scratch_gives_the_same_bits_twice(tmp_path, torch_settings_put_back):
    first, second = tmp_path / "first", tmp_path / "second"
    weights.store(first)
    weights.store(second)
    for file in sorted(file.name for file in first.iterdir()):
        assert (first / file).read_bytes() == (second / file).read_bytes()
    retrained = json.loads((first / "digits_net.json").read_text("utf-8"))
    assert retrained["test_accuracy"] > 0.97
    assert retrained["training"] == CARD["training"]


# the photograph


def test_the_photograph_is_what_pillow_and_numpy_make_of_it(generators_stay_put):
    from matplotlib.cbook import get_sample_data
    from PIL import Image

    picture = Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB")
    width, height = picture.size
    short = min(width, height)
    small = picture.resize((width * 256 // short, height * 256 // short), Image.Resampling.BILINEAR)
    left, top = round((small.width - 224) / 2), round((small.height - 224) / 2)
    pixels = np.asarray(small.crop((left, top, left + 224, top + 224))) / 255
    expected = (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]

    photo = samples.photo()
    assert type(photo) is torch.Tensor
    assert (photo.shape, photo.dtype) == ((1, 3, 224, 224), torch.float32)
    assert np.abs(photo[0].permute(1, 2, 0).numpy() - expected).max() < 1.5 / 255 / 0.224  # one grey level, rounded


@pytest.mark.parametrize("size", [1, 7, 64, 300])
def test_the_photograph_comes_in_the_size_asked_for(size):
    assert samples.photo(size).shape == (1, 3, size, size)


@pytest.mark.parametrize("size", [0, -3, 2.5, "big", None])
def test_a_photograph_of_no_size_is_refused(size):
    with pytest.raises(ValueError, match="whole number of pixels"):
        samples.photo(size)


# devices


def test_auto_is_cuda_where_there_is_one_else_the_cpu():
    assert samples.device() == torch.device("cuda" if torch.cuda.is_available() else "cpu")
    assert samples.device("cpu") == samples.device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize(
    "name", ["cuad", "", "CPU", "cpu:1", "cuda:", "cuda:-1", "cuda:01", "cuda:1 ", "meta", 3, None, True]
)
def test_a_name_that_is_no_device_is_refused_with_those_that_are(name):
    with pytest.raises(ValueError, match=r'is no device of ours: use "auto", "cpu", "cuda", "cuda:1" or "mps"'):
        samples.device(name)


@pytest.mark.parametrize("name", ["cuda:99", "cuda:9999"])
def test_a_gpu_that_is_not_there_is_refused_in_a_sentence(name):
    with pytest.raises(RuntimeError, match=rf"'{name}' is not there: torch sees \d+ CUDA GPU\(s\) here"):
        samples.device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("call", [samples.digits, samples.digits_net, samples.photo, samples.resnet18, samples.device])
def test_every_call_refuses_cuda_without_a_gpu(call):
    with pytest.raises(RuntimeError, match="is not there"):
        call(device="cuda") if call is not samples.device else call("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_everything_comes_on_the_gpu_when_asked():
    model, digits = samples.digits_net(device="cuda"), samples.digits("cuda")
    with torch.no_grad():
        right = (model(digits.test.images).argmax(1) == digits.test.labels).float().mean()
    assert right.item() == pytest.approx(CARD["test_accuracy"], abs=1.5 / 445)
    assert {tensor.device.type for tensor in model.state_dict().values()} == {"cuda"}
    assert torch.equal(samples.photo(device="cuda").cpu(), samples.photo())


def test_the_offline_samples_ask_no_network(monkeypatch):
    for way_out in ("socket", "getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, way_out, None)
    samples._scans.cache_clear()
    samples.digits()
    samples.digits_net()
    samples.photo()


@pytest.mark.parametrize("call", ["samples.digits()", "checkups.checkup()"])
def test_a_first_import_that_draws_leaves_python_s_generator_alone(call, tmp_path):
    # scikit-learn imports rich where it is there; this one is surely there, and draws
    (tmp_path / "rich").mkdir()
    (tmp_path / "rich/__init__.py").write_text("import random; random.random(); raise ImportError('only a stand-in')")
    code = f"""import random; from featlab import checkups, samples
found = random.getstate(); {call}
assert random.getstate() == found"""
    paths = os.pathsep.join([str(tmp_path), str(Path(samples.__file__).parents[1])])
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": paths})
