"""Measure, as ratios within one run, what featlab's calls cost beside what they could cost: `make bench`.

Each round times every contender once, in a new order, and a ratio is the median over rounds of time / time of the base.
"""

import copy
import random
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable

import torch
import torchvision
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

import featlab as fl
from featlab.tables import Table

FIVE = ["layer1", "layer2", "layer3", "layer4", "avgpool"]


def paired(contenders: dict[str, Callable], base: str, rounds: int = 20) -> list[dict]:
    """Return name, median ratio to the base, and the middle half of the ratios, per contender."""
    times = {name: [] for name in contenders}
    for run in contenders.values():
        run()  # the first call of each pays for what is built once
    for _ in range(rounds):
        for name in random.sample(list(contenders), len(contenders)):
            start = time.perf_counter()
            contenders[name]()
            times[name].append(time.perf_counter() - start)
    rows = []
    for name, mine in times.items():
        low, middle, high = statistics.quantiles([a / b for a, b in zip(mine, times[base], strict=True)])
        milliseconds = f"{1e3 * statistics.median(mine):.3g}"
        rows.append({"way": name, "ratio": f"{middle:.3g}", "half": f"{low:.3g}-{high:.3g}", "ms": milliseconds})
    return rows


def peers(model: nn.Module, x: torch.Tensor, names: list[str]) -> dict[str, Callable]:
    """Return the same work by other tools, those that are installed."""
    fx = create_feature_extractor(model, names)
    found = {"torchvision fx": lambda: fx(x)}
    try:
        import nnsight
        import timm
        import torchlens
    except ImportError as error:
        print(f"left out: {error.name} is not installed (make bench installs it)")
        return found
    wrapped = nnsight.NNsight(model)

    def by_nnsight():
        with wrapped.trace(x) as tracer:
            kept = nnsight.save([wrapped.get(name).output for name in names])
            tracer.stop()
        return kept

    found["nnsight, with stop"] = by_nnsight
    found["torchlens extract"] = lambda: torchlens.extract(model, x, names)
    if "avgpool" not in names:
        twin = timm.create_model("resnet18", features_only=True, out_indices=[2]).eval()
        found["timm features_only"] = lambda: twin(x)
    return found


def layers_of_resnet18() -> None:
    model, x = torchvision.models.resnet18().eval(), torch.randn(8, 3, 224, 224)
    until = list(model.children())[:6]
    truncated = nn.Sequential(*until)
    one = {
        "truncated Sequential (the limit)": lambda: truncated(x),
        "fl.features": lambda: fl.features(model, x, "layer2"),
        **peers(model, x, ["layer2"]),
    }
    five = {
        "bare forward": lambda: model(x),
        "fl.features": lambda: fl.features(model, x, FIVE),
        **peers(model, x, FIVE),
    }
    with torch.no_grad():
        print(Table(paired(one, "truncated Sequential (the limit)"), caption="\nlayer2 of resnet18, 8×3×224×224"))
        print(Table(paired(five, "bare forward"), caption="\nfive layers of resnet18, 8×3×224×224"))
    build = {
        "create_feature_extractor": lambda: create_feature_extractor(model, ["layer2"]),
        "fl.extractor": lambda: fl.extractor(model, "layer2"),
    }
    print(Table(paired(build, "create_feature_extractor"), caption="\nbuilding an extractor"))


def overhead() -> None:
    model, x = nn.Sequential(*(nn.Identity() for _ in range(200))), torch.randn(4)

    def captured():
        with fl.capture(model, "**"):
            model(x)

    def microseconds(run: Callable) -> float:
        times = []
        for _ in range(300):
            start = time.perf_counter()
            run()
            times.append(1e6 * (time.perf_counter() - start))
        return statistics.median(times)

    bare = microseconds(lambda: model(x))
    rows = [
        {"what": "a forward of 200 nn.Identity", "µs": round(bare)},
        {
            "what": "features of the last one, beyond that",
            "µs": round(microseconds(lambda: fl.features(model, x, "199")) - bare),
        },
        {"what": 'capture("**"), beyond that, per module', "µs": round((microseconds(captured) - bare) / 200, 1)},
    ]
    print(Table(rows, caption="\noverhead"))


def blocks(count: int) -> nn.Module:
    """Return a model of about so many modules, a third of them norms."""
    return nn.Sequential(*(torchvision.models.resnet.BasicBlock(4, 4) for _ in range(count // 6)))


def judging() -> None:
    """Print what an audit and a watch cost, beside the summaries of Lightning and torchinfo and a copy of the state."""
    rows = []
    for name, model in {
        "1,000 modules": blocks(1_000),
        "10,000 modules": blocks(10_000),
        "resnet18, 11.7 M parameters": torchvision.models.resnet18(),
        "vit_b_16, 86.6 M parameters": torchvision.models.vit_b_16(),
    }.items():
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def watched(model=model, optimizer=optimizer):
            with fl.watch(model, optimizer=optimizer):
                pass

        ways = {
            "fl.audit": lambda model=model, optimizer=optimizer: fl.audit(model, optimizer=optimizer),
            "fl.watch, nothing changed": watched,
            "copy.deepcopy(state_dict)": lambda model=model: copy.deepcopy(model.state_dict()),
            **summaries(model),
        }
        found = {row["way"]: row["ms"] for row in paired(ways, "fl.audit", rounds=5)}
        rows.append({"ms": name} | found)
    print(Table(rows, caption="\njudging a model"))


def summaries(model: nn.Module) -> dict[str, Callable]:
    """Return what others tell of a model without running it, those that are installed."""
    try:
        import lightning.pytorch as pl
        import torchinfo
    except ImportError:
        return {}
    module = pl.LightningModule()
    module.model = model
    return {
        "Lightning's summary": lambda: pl.utilities.model_summary.ModelSummary(module, max_depth=-1),
        "torchinfo": lambda: torchinfo.summary(model, verbose=0, depth=99),
    }


def waits() -> None:
    """Print what a learner waits for, each in a process of its own, the best of five."""
    lines = {
        "Python": "pass",
        "import torch": "import torch",
        "import torch, featlab": "import torch, featlab",
        "JupyterLab": "import jupyterlab.labapp",
        "digits and their network": "import featlab as fl; fl.samples.digits(); fl.samples.digits_net()",
    }

    def seconds(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - start

    rows = [{"start": name, "seconds": f"{min(seconds(code) for _ in range(5)):.2f}"} for name, code in lines.items()]
    print(Table(rows, caption="\nstarts"))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    layers_of_resnet18()
    overhead()
    judging()
    waits()
