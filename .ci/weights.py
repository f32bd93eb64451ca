"""Train featlab's small weights from scratch and store them with their score: `make weights`."""

import argparse
import hashlib
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn

from featlab import samples
from featlab.networks import DigitsNet

TRAINING = {"seed": 1, "epochs": 12, "batch_size": 64, "optimizer": "AdamW", "max_lr": 0.01, "weight_decay": 1e-4}


# file -> how many digits it reads, from 0 on
NETS = {"digits_net": 10, "low_digits_net": 5}


def train(images: Tensor, labels: Tensor, classes: int) -> nn.Module:
    """Return a DigitsNet trained with a one-cycle learning rate; each epoch drops its last, smaller batch."""
    torch.manual_seed(TRAINING["seed"])
    model = DigitsNet(classes)
    optimizer = torch.optim.AdamW(model.parameters(), TRAINING["max_lr"], weight_decay=TRAINING["weight_decay"])
    batches = len(labels) // TRAINING["batch_size"]
    steps = TRAINING["epochs"] * batches
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, TRAINING["max_lr"], total_steps=steps)
    for _ in range(TRAINING["epochs"]):
        for picked in torch.randperm(len(labels)).split(TRAINING["batch_size"])[:batches]:
            optimizer.zero_grad()
            F.cross_entropy(model(images[picked]), labels[picked]).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def store(folder: Path) -> list[str]:
    """Train each net, write its weights and its card into `folder`, and say in a sentence how well it does."""
    # one thread: the order of sums, and so every bit, does not depend on the number of cores
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    folder.mkdir(parents=True, exist_ok=True)
    return [_store(folder, name, classes) for name, classes in NETS.items()]


def _store(folder: Path, name: str, classes: int) -> str:
    split = samples.digits()
    (images, labels), test = (
        (part.images[part.labels < classes], part.labels[part.labels < classes]) for part in split
    )
    model = train(images, labels, classes)
    with torch.no_grad():
        correct = (model(test[0]).argmax(1) == test[1]).sum().item()
    content = save(model.state_dict())
    card = {
        "what": f"a DigitsNet of {classes} classes, trained on digits 0 to {classes - 1} of samples.digits().train "
        "by .ci/weights.py",
        "test_accuracy": round(correct / len(test[1]), 4),
        "test_correct": correct,
        "test_images": len(test[1]),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "training": TRAINING,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    (folder / f"{name}.safetensors").write_bytes(content)
    (folder / f"{name}.json").write_text(json.dumps(card, indent=2) + "\n", "utf-8")
    return f"{name}: {correct} of {card['test_images']} test digits right ({card['test_accuracy']:.1%})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(samples.__file__).with_name("weights"))
    print(*store(parser.parse_args().folder), sep="\n")
