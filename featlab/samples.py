"""Real data and small models that work offline; torchvision's own when they are there or can be downloaded."""

import functools
import hashlib
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .downloads import NotAvailable, fetch
from .networks import DigitsNet

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10
    from torchvision.models import ResNet

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # per channel R, G, B, of pixels in 0..1
_WEIGHTS = Path(__file__).with_name("weights")


class Split(NamedTuple):
    images: Tensor  # (N, 1, 8, 8) float32 in 0..1
    labels: Tensor  # (N,) int64 in 0..9


class Digits(NamedTuple):
    train: Split
    test: Split


def device(name: str | torch.device = "auto") -> torch.device:
    """Return the device a lesson runs on: "auto" is CUDA where torch sees a GPU, else the CPU.

    Raises:
        ValueError: `name` is none of "auto", "cpu", "cuda", "cuda:1" (any number) and "mps".
        RuntimeError: the GPU asked for is not there.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    asked = str(name) if isinstance(name, str | torch.device) else ""
    if asked == "auto":
        return torch.device("cuda" if gpus else "cpu")
    if not re.fullmatch(r"cpu|mps|cuda(:(0|[1-9][0-9]{0,3}))?", asked):
        raise ValueError(f'device={name!r} is no device of ours: use "auto", "cpu", "cuda", "cuda:1" or "mps".')
    if asked.startswith("cuda") and int(asked[5:] or 0) >= gpus:
        raise RuntimeError(f'device={asked!r} is not there: torch sees {gpus} CUDA GPU(s) here. Use "auto" or "cpu".')
    if asked == "mps" and not torch.backends.mps.is_available():
        raise RuntimeError(f'device={asked!r} is not there: torch finds no Apple GPU here. Use "auto" or "cpu".')
    return torch.device(asked)


_device = device  # below, `device` is also an argument


@functools.cache
def _scans() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return images, labels and which of them are for the test: every fourth scan of each class."""
    # scikit-learn imports rich where it is there, and rich draws from Python's generator as it loads
    found = random.getstate()
    from sklearn.datasets import load_digits

    random.setstate(found)
    scans = load_digits()
    in_test = np.zeros(len(scans.target), dtype=bool)
    for label in range(10):
        in_test[np.flatnonzero(scans.target == label)[3::4]] = True
    # arrays, not tensors: those of a first call inside inference_mode would stay inference tensors
    return (scans.images[:, None] / 16).astype(np.float32), scans.target.astype(np.int64), in_test


def digits(device: str = "cpu") -> Digits:
    """Return scikit-learn's 1797 handwritten digits as tensors, split into train (1352) and test (445).

    Each call returns tensors of its own, so writing into them spoils nothing. The split is fixed: every fourth
    scan of each class is kept for the test, and the order is that of the data set.

    Returns:
        digits.train and digits.test, each with images (N, 1, 8, 8) float32 in 0..1 (the scans' 0..16 divided by 16)
        and labels (N,) int64.

    Source: Alpaydin and Kaynak 1998, UCI Machine Learning Repository, "Optical Recognition of Handwritten Digits".
    """
    where = _device(device)
    images, labels, in_test = _scans()

    def split(chosen: np.ndarray) -> Split:
        return Split(torch.tensor(images[chosen], device=where), torch.tensor(labels[chosen], device=where))

    return Digits(train=split(~in_test), test=split(in_test))


def digits_net(*, pretrained: bool = True, device: str = "cpu") -> DigitsNet:
    """Return the digits network: pretrained and in eval mode, or freshly drawn and in train mode.

    The pretrained one leaves every random generator alone; a fresh one draws from torch's global generator, as
    building any module does. What it scores, and how it was trained, stands in featlab/weights/digits_net.json.

    Raises:
        NotAvailable: the stored weights are missing or damaged.
    """
    where = _device(device)
    if not pretrained:
        return DigitsNet().to(where)
    return _filled(DigitsNet, _stored("digits_net"), where).eval()


def low_digits_net(*, device: str = "cpu") -> DigitsNet:
    """Return a digits network that was trained on the digits 0 to 4 only, in eval mode: a start for other tasks.

    It has five logits. No random generator is moved. Its card is featlab/weights/low_digits_net.json.

    Raises:
        NotAvailable: the stored weights are missing or damaged.
    """
    where = _device(device)
    return _filled(functools.partial(DigitsNet, 5), _stored("low_digits_net"), where).eval()


def _filled(build: Callable[[], nn.Module], tensors: dict[str, Tensor], where: torch.device) -> nn.Module:
    """Return build() holding copies of `tensors`, without drawing the random start that they would replace."""
    with torch.device("meta"):  # initialisation on meta tensors moves no random generator
        model = build()
    model.load_state_dict({name: tensor.clone() for name, tensor in tensors.items()}, assign=True)
    return model.to(where)


def _stored(name: str) -> dict[str, Tensor]:
    """Read featlab/weights/<name>.safetensors after comparing it with the sha256 in <name>.json."""
    from safetensors.torch import load

    file = _WEIGHTS / f"{name}.safetensors"
    remedy = "Run `make weights` to train it again, or reinstall featlab."
    try:
        content, expected = file.read_bytes(), json.loads(file.with_suffix(".json").read_text("utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotAvailable(f"{file} or the .json beside it cannot be read ({error!r}). {remedy}") from None
    if hashlib.sha256(content).hexdigest() != expected:
        raise NotAvailable(f"{file} is damaged (its sha256 is not the one in {name}.json), so not used. {remedy}")
    with torch.device("cpu"):  # whatever the default device is
        return load(content)


def photo(size: int = 224, *, device: str = "cpu") -> Tensor:
    """Return matplotlib's photograph of Grace Hopper as a batch of one, prepared as ImageNet models expect it.

    Returns:
        (1, 3, size, size) float32: pixels in 0..1, resized and cropped to the centre as torchvision's resnets want
        it, minus IMAGENET_MEAN, divided by IMAGENET_STD. The unit is one standard deviation of ImageNet's channel;
        `photo * std + mean` gives pixels back, with mean and std shaped (3, 1, 1).
    """
    from matplotlib.cbook import get_sample_data
    from PIL import Image
    from torchvision.transforms import v2

    if not isinstance(size, int) or size < 1:
        raise ValueError(f"size={size!r}: the photograph's side is a whole number of pixels, 1 or more.")
    where = _device(device)
    crop = [v2.ToImage(), v2.Resize(max(size, round(size * 256 / 224)), antialias=True), v2.CenterCrop(size)]
    scale = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD), v2.ToPureTensor()]
    prepare = v2.Compose(crop + scale)
    # on the CPU, whatever the default device is
    with torch.device("cpu"), Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)) as picture:
        return prepare(picture.convert("RGB")).unsqueeze(0).to(where)


def cifar10(train: bool = False, *, root: str | Path | None = None, download: bool = False) -> "CIFAR10":
    """Return torchvision's CIFAR-10: items are ((3, 32, 32) float32 in 0..1, label); 50 000 to train, 10 000 to test.

    Args:
        root: the folder that holds or gets "cifar-10-batches-py"; by default "datasets" in torch.hub.get_dir().
        download: fetch what is missing (170 MB), or unpack an archive that lies in `root` already.

    Raises:
        NotAvailable: the data are not there, damaged (by their md5) or not to be downloaded.
    """
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_integrity
    from torchvision.transforms import v2

    root = Path(root or Path(torch.hub.get_dir(), "datasets")).expanduser()
    folder, archive = root / CIFAR10.base_folder, root / CIFAR10.filename
    md5s = dict([*CIFAR10.train_list, *CIFAR10.test_list, (CIFAR10.meta["filename"], CIFAR10.meta["md5"])])
    wrong = [name for name, md5 in md5s.items() if not check_integrity(folder / name, md5)]
    if wrong and folder.exists():
        raise NotAvailable(
            f"CIFAR-10 in {folder} is damaged or incomplete ({', '.join(wrong)}: not the md5 that torchvision knows), "
            f"so it is not used: delete that folder and call samples.cifar10(download=True)."
        )
    by_hand = f"put its archive {CIFAR10.filename} into {root} first"
    if wrong and not download:
        call = "call samples.cifar10(download=True) (170 MB)"
        raise NotAvailable(f"CIFAR-10 is not in {root}: {call}; offline {by_hand}.")

    def load() -> CIFAR10:
        pixels = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.ToPureTensor()])
        return CIFAR10(root, train, transform=pixels, download=bool(wrong))

    if not wrong or check_integrity(archive, CIFAR10.tgz_md5):
        return load()
    return fetch(load, what="CIFAR-10", url=CIFAR10.url, remedy=f"try again with the network up, or {by_hand}.")


def resnet18(*, or_random: bool = False, device: str = "cpu") -> "ResNet":
    """Return torchvision's resnet18 with its ImageNet weights, in train mode, as torchvision returns it.

    The weights are looked for in torch.hub.get_dir(), then downloaded (45 MB). With them, every random generator is
    left alone; random weights are drawn from torch's global generator.

    Args:
        or_random: when the weights cannot be had, print so and go on with random ones.

    Raises:
        NotAvailable: the weights are missing and cannot be downloaded, or are damaged (by their sha256).
    """
    from torchvision import models

    where = _device(device)
    try:
        tensors = _imagenet_tensors(models.ResNet18_Weights.DEFAULT)
    except NotAvailable:
        if not or_random:
            raise
        # printed, not warned: a warning is shown once only, and a cell may run twice
        print("resnet18 has random weights here, so its features mean nothing; samples.resnet18() says why.")
        return models.resnet18().to(where)
    return _filled(models.resnet18, tensors, where)


def _imagenet_tensors(weights) -> dict[str, Tensor]:
    """Load torchvision weights after comparing the file with the start of its sha256 that stands in its name."""
    file = Path(torch.hub.get_dir(), "checkpoints", weights.url.rpartition("/")[2])
    load = functools.partial(weights.get_state_dict, check_hash=True, weights_only=True, map_location="cpu")
    if not file.exists():
        remedy = f"try again with the network up, put the file into {file.parent}, or call resnet18(or_random=True)."
        return fetch(load, what=file.name, url=weights.url, remedy=remedy)
    with file.open("rb") as content:  # torchvision compares the hash of a download only
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    if not sha256.startswith(file.stem.rpartition("-")[2]):
        raise NotAvailable(
            f"{file} is damaged (its sha256 starts with {sha256[:8]}, unlike its name), so it is not used: "
            "delete it and call resnet18() to download it again, or call resnet18(or_random=True)."
        )
    return load()
