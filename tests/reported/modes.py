"""Flags that disagree, and switches that are gone."""

import torch
from torch import nn

import featlab as fl

from . import Model, Situation, case, sgd


class Pretrained(nn.Module):
    """What a loader of trained weights gives: a model in eval."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm, self.dropout = nn.Linear(8, 8), nn.LayerNorm(8), nn.Dropout(0.1)

    def forward(self, x):
        return self.dropout(self.norm(self.embed(x)))

    @classmethod
    def from_pretrained(cls):
        return cls().eval()


class Classifier(nn.Module):
    def __init__(self, body: nn.Module):
        super().__init__()
        self.body, self.last = body, nn.Linear(8, 3)

    def forward(self, x):
        return self.last(self.body(x))


@case(
    "eval-inside-train", "Lightning-AI/pytorch-lightning#20105", "All of training runs in eval, as the loader left it."
)
def without_validation(sick):
    model = Classifier(Pretrained.from_pretrained())
    if not sick:
        model.train()
    return Situation(model, sgd(model))


@case("eval-inside-train", "Lightning-AI/pytorch-lightning#20128", "The whole says training=True, its BERT says False.")
def the_whole_says_train(sick):
    model = Classifier(nn.ModuleDict({"bert": Pretrained.from_pretrained()}))
    model.training = True
    if not sick:
        model.body.train()
    return Situation(model, sgd(model))


@case("eval-inside-train", "autogluon/autogluon#4965", "Validation puts each mode back, so eval lasts for ever.")
def put_back_for_ever(sick):
    model = Classifier(Pretrained.from_pretrained())
    if not sick:
        model.train()
    with fl.evaluating(model):
        model(torch.randn(2, 8))
    return Situation(model, sgd(model))


@case(
    "eval-inside-train",
    "Lightning-AI/pytorch-lightning#19820",
    "A pre-trained CNN is finetuned with its norms in eval.",
)
def finetuned_in_eval(sick):
    model = Model().train()
    model.backbone.eval()
    if not sick:
        fl.freeze(model.backbone)
    return Situation(model, sgd(model))


@case(
    "train-inside-eval",
    "roytseng-tw/Detectron.pytorch#104",
    "An own train() switches some parts only; eval leaves the others.",
)
def some_parts_only(sick):
    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            self.res1, self.res2 = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def train(self, mode=True):
            self.training = mode
            for part in [self.res1] if sick else [self.res1, self.res2]:
                part.train(mode)
            return self

    model = nn.Sequential(Body())
    return Situation(model.eval())


@case(
    "train-inside-eval", "open-edge-platform/anomalib#714", "An extractor of an evaluated model is switched to train."
)
def extractor_to_train(sick):
    model = Model().eval()
    extractor = fl.extractor(model, "backbone.4", way="fx", mode=None if sick else "eval")
    if sick:
        extractor.train()
    extractor(torch.randn(2, 3, 8, 8))
    return Situation(model)


@case("mode-switch-shadowed", "KindXiaoming/pykan#6", "train() is the training loop, so eval() calls that.")
def train_is_the_loop(sick):
    class Network(Pretrained):
        pass

    def loop(self, dataset, steps=100):
        return dataset, steps

    setattr(Network, "train" if sick else "fit", loop)
    return Situation(Network())


@case("mode-switch-shadowed", "Zhenye-Na/DA-RNN#21", "train() takes no argument, so eval() raises.")
def train_without_argument(sick):
    class Forecaster(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(4, 4)

    def loop(self):
        return self.lstm

    setattr(Forecaster, "train" if sick else "train_epochs", loop)
    return Situation(Forecaster())


@case("grad-mode-off", "deepinv/deepinv#166", "A forward calls set_grad_enabled(False) and never sets it back.")
def never_set_back(sick):
    model = nn.Linear(3, 3)
    torch.set_grad_enabled(not sick)
    return Situation(model, torch.optim.SGD(model.parameters(), lr=0.1))


@case("inference-parameter", "facebookresearch/dinov2#472", "A model built under inference_mode cannot be trained.")
def built_under_inference_mode(sick):
    with torch.inference_mode(sick):
        model = nn.Sequential(nn.Linear(3, 3))
    return Situation(model)
