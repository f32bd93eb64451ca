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

TRAINING = {"seed": 1, "epochs": 12, "batch_size": 64, "optimizer": "AdamW", "max_lr": 0.01, "weight_decay": 1e-4}


def train(images: Tensor, labels: Tensor) -> nn.Module:
    """Return a DigitsNet trained with a one-cycle learning rate; each epoch drops its last, smaller batch."""
    torch.manual_seed(TRAINING["seed"])
    model = samples.digits_net(pretrained=False)
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


def store(folder: Path) -> str:
    """Train, write digits_net.safetensors and its card into `folder`, and say in a sentence how well it does."""
    # one thread: the order of sums, and so every bit, does not depend on the number of cores
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    digits = samples.digits()
    model = train(*digits.train)
    with torch.no_grad():
        correct = (model(digits.test.images).argmax(1) == digits.test.labels).sum().item()
    content = save(model.state_dict())
    card = {
        "what": "samples.DigitsNet, trained on samples.digits().train by .ci/weights.py",
        "test_accuracy": round(correct / len(digits.test.labels), 4),
        "test_correct": correct,
        "test_images": len(digits.test.labels),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "training": TRAINING,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "digits_net.safetensors").write_bytes(content)
    (folder / "digits_net.json").write_text(json.dumps(card, indent=2) + "\n", "utf-8")
    return f"digits_net: {correct} of {card['test_images']} test digits right ({card['test_accuracy']:.1%})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(samples.__file__).with_name("weights"))
    print(store(parser.parse_args().folder))
