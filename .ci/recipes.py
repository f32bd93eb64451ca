"""Run the README's recipes against the real libraries: `make recipes`, and the weekly workflow."""

import re
import tempfile
import warnings

import torch
from files import ROOT
from torch import nn

import featlab as fl
from featlab.findings import AuditFailed


def recipes() -> dict[str, type]:
    """Return the classes that the README's recipes define."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("### At work")[2]
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.S)[:2]:
        exec(block, names)
    return {name: value for name, value in names.items() if name in ("Audit", "StepAudit")}


def layers(*, sick: bool) -> nn.Module:
    """Return a small network with a backbone that is frozen in name only, or for real."""
    body = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    return nn.Sequential(body.requires_grad_(False) if sick else fl.freeze(body), nn.Linear(4, 2))


def by_lightning(callback: type, *, sick: bool) -> None:
    import lightning.pytorch as pl

    class Task(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layers = layers(sick=sick)

        def training_step(self, batch, index):
            return self.layers(batch[0]).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.layers[1].parameters(), lr=0.1)

    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(16, 4)), batch_size=8)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    pl.Trainer(max_epochs=2, accelerator="cpu", callbacks=[callback()], **quiet).fit(Task(), data)


def by_transformers(callback: type, *, sick: bool) -> None:
    from transformers import Trainer, TrainingArguments

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = layers(sick=sick)

        def forward(self, x, labels=None):
            scores = self.layers(x)
            return {"loss": nn.functional.cross_entropy(scores, labels), "logits": scores}

    data = [{"x": torch.randn(4), "labels": torch.tensor(i % 2)} for i in range(16)]
    with tempfile.TemporaryDirectory() as folder:
        options = {"report_to": [], "save_strategy": "no", "use_cpu": True, "disable_tqdm": True, "num_train_epochs": 1}
        arguments = TrainingArguments(folder, per_device_train_batch_size=8, **options)
        Trainer(Model(), arguments, train_dataset=data, callbacks=[callback()]).train()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    found = recipes()
    for run, name in ((by_lightning, "Audit"), (by_transformers, "StepAudit")):
        run(found[name], sick=False)
        try:
            run(found[name], sick=True)
        except AuditFailed as failed:
            assert "frozen-statistics-move" in failed.findings.codes
        else:
            raise SystemExit(f"{name} let a sick model train.")
        print(f"{name}: silent on a frozen backbone, and stopped one that is frozen in name only ({run.__name__}).")
