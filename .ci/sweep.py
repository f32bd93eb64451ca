"""Hold `fl.features` against torch.fx on sampled layers of torchvision's models, random weights, small inputs.

Run as `python .ci/sweep.py [pattern ...]`; with none it takes all classification, segmentation and video models.
"""

import fnmatch
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing

import torch
from torch import fx, nn
from torchvision import models

import featlab as fl

# the smallest input that a family takes
IMAGES = {"inception*": 96, "vit_*": 224, "maxvit*": 224}
CLIPS = {"mvit*": 224, "s3d": 224}
FAMILIES = {"classification": models, "segmentation": models.segmentation, "video": models.video}


class Recorder(fx.Interpreter):
    """Run a traced graph and keep a copy of what each submodule returned at its first call."""

    def __init__(self, graph: fx.GraphModule):
        super().__init__(graph)
        self.seen: dict[str, object] = {}

    def call_module(self, target, args, kwargs):
        result = super().call_module(target, args, kwargs)
        if isinstance(result, torch.Tensor):
            self.seen.setdefault(target, result.clone())
        return result


def every_model() -> Iterator[tuple[str, str]]:
    """Yield (family, name) of torchvision's models that map images or clips to scores."""
    for family, module in FAMILIES.items():
        for name in models.list_models(module=module):
            yield family, name


def build(family: str, name: str) -> tuple[nn.Module, torch.Tensor]:
    """Return a model in eval mode, with random weights, and a small input for it."""
    options = {"weights": None} | ({"weights_backbone": None} if family == "segmentation" else {})
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = False  # their own initialisation takes a minute
    model = models.get_model(name, **options).eval()
    clip = family == "video"
    known = (size for pattern, size in (CLIPS if clip else IMAGES).items() if fnmatch.fnmatch(name, pattern))
    size = next(known, 112 if clip else 64)
    shape = (1, 3, 16, size, size) if clip else (1, 3, size, size)
    return model, torch.randn(shape, generator=torch.Generator().manual_seed(0))


def compare(model: nn.Module, x: torch.Tensor, layers: int = 5) -> str:
    """Return "" when sampled layers agree bit for bit with torch.fx, else what is wrong.

    Raises:
        Exception: whatever torch.fx raises for a model that it cannot trace.
    """
    recorder = Recorder(fx.GraphModule(model, fx.Tracer().trace(model)))
    with torch.no_grad():
        recorder.run(x)
        asked = random.Random(0).sample(sorted(recorder.seen), min(layers, len(recorder.seen)))
        ours = fl.features(model, x, asked)
    wrong = [name for name in asked if not torch.equal(ours[name], recorder.seen[name])]
    left = sum(len(module._forward_hooks) for module in model.modules())
    return f"differs at {', '.join(wrong)}" if wrong else f"{left} hooks left" if left else ""


def main(patterns: list[str]) -> int:
    counts = Counter()
    for family, name in every_model():
        if patterns and not any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
            continue
        start = time.perf_counter()
        model, x = build(family, name)
        with closing(fl.LayerPicker(model, x)) as picker:  # else ipywidgets would keep it, and with it the model
            wrong, untraced = picker.tree["error"], ""
        try:
            wrong = wrong or compare(model, x)
        except (fx.proxy.TraceError, TypeError) as error:
            untraced = f"fx cannot trace it ({type(error).__name__}); the picker shows it"
        counts["failed" if wrong else "skipped" if untraced else "passed"] += 1
        print(f"{name:<28} {time.perf_counter() - start:5.1f} s  {wrong or untraced or 'agrees'}", flush=True)
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return bool(counts["failed"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
