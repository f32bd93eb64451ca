"""Bugs that people reported in public, each re-created small: sick as it was found, and mended as it was mended."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn


class Situation(NamedTuple):
    """What is handed to the audit."""

    model: nn.Module
    optimizer: Any = None
    x: Any = None


@dataclass(frozen=True)
class Case:
    """One report: the code that must name it, where it was reported, what happened, and how to build it."""

    code: str
    report: str  # "owner/repository#number"
    story: str
    build: Callable[[bool], Situation]

    @property
    def link(self) -> str:
        repository, _, number = self.report.partition("#")
        return f"https://github.com/{repository}/issues/{number}"  # GitHub leads pull requests on from there

    def __str__(self) -> str:
        return self.report


CASES: list[Case] = []


def case(code: str, report: str, story: str) -> Callable:
    """Register a function `build(sick)` as the case of a report."""

    def register(build: Callable[[bool], Situation]) -> Callable:
        CASES.append(Case(code, report, story, build))
        return build

    return register


class Model(nn.Module):
    """A backbone and a head, as most people build it."""

    def __init__(self, *, dropout: float = 0.0, classes: int = 3):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout),
        )  # fmt: skip
        self.head = nn.Linear(8, classes)

    def forward(self, x):
        return self.head(self.backbone(x))


def images(number: int = 4) -> torch.Tensor:
    return torch.randn(number, 3, 8, 8)


def sgd(model: nn.Module, **options) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, **options)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor) -> None:
    """Take one step of training."""
    output = model(x)
    loss = F.cross_entropy(output, torch.zeros(len(output), dtype=torch.long))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


from . import freezing, modes, norms, parameters, running  # noqa: E402, F401 - each registers its cases
