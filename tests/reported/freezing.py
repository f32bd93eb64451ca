"""Frozen in name only: statistics that drift, dropout that stays on, parameters that move all the same."""

import torch
from torch import nn

import featlab as fl

from . import Model, Situation, case, images, sgd, step


@case("frozen-statistics-move", "lightly-ai/lightly#1438", "deactivate_requires_grad leaves BatchNorm in train mode.")
def deactivated(sick):
    model = Model()
    for parameter in model.backbone.parameters():
        parameter.requires_grad = False
    model.train()
    if not sick:
        model.backbone.eval()
    return Situation(model, sgd(model))


@case(
    "frozen-statistics-move", "pytorch/pytorch#86590", "A loop freezes all layers up to the last; train() comes after."
)
def up_to_the_last(sick):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).train()
    for layer in list(model)[:-1]:
        if sick:
            layer.requires_grad_(False)
        else:
            fl.freeze(layer)
    model.train()
    return Situation(model, sgd(model))


@case("frozen-statistics-move", "pgniewko/gt-pyg#112", "freeze() sets eval once; the next epoch's train() undoes it.")
def undone_by_train(sick):
    model = Model()
    model.backbone.requires_grad_(False)
    for part in model.backbone.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()
    if not sick:
        fl.freeze(model.backbone)
    for _ in range(2):  # epochs
        model.train()
    return Situation(model, sgd(model))


@case("frozen-statistics-move", "isht7/pytorch-deeplab-resnet#39", "Only the norms' scale and shift are frozen.")
def scale_and_shift(sick):
    model = Model().train()
    for part in model.backbone:
        part.requires_grad_(False)
        if isinstance(part, nn.BatchNorm2d) and not sick:
            part.eval()
    return Situation(model, sgd(model))


@case(
    "frozen-dropout-active",
    "Lightning-AI/pytorch-lightning#2824",
    "A frozen loss network is switched to train with the rest.",
)
def frozen_loss_network(sick):
    model = nn.ModuleDict(
        {"generator": nn.Conv2d(3, 3, 1), "features": nn.Sequential(nn.Linear(9, 99), nn.Dropout(0.5))}
    )
    model["features"].requires_grad_(False)
    model.train()
    if not sick:
        model["features"].eval()
    return Situation(model, sgd(model))


@case(
    "frozen-dropout-active",
    "vrvlive/knowlege-distillation#2",
    "A teacher answers in train mode: its targets are noise.",
)
def noisy_teacher(sick):
    student = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 3))
    teacher = nn.Sequential(nn.Linear(8, 64), nn.Dropout(0.5), nn.Linear(64, 3)).requires_grad_(False)
    both = nn.ModuleDict({"student": student, "teacher": teacher}).train()
    if not sick:
        teacher.eval()
    return Situation(both, sgd(both))


@case("frozen-will-move", "facebookresearch/fairseq#4702", "Layers frozen in the middle of training are updated on.")
def frozen_on_the_way(sick):
    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), weight_decay=0.1)
    step(model, optimizer, images())
    model.backbone[3].requires_grad_(False)
    if not sick:
        optimizer.zero_grad(set_to_none=True)
    return Situation(model, optimizer)


@case(
    "frozen-will-move",
    "explosion/curated-transformers#69",
    "A frozen transformer gets gradients, and the optimizer its statistics.",
)
def frozen_with_zeros(sick):
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    step(model, optimizer, torch.randn(4, 8))
    model[0].requires_grad_(False)
    optimizer.zero_grad(set_to_none=not sick)
    return Situation(model, optimizer)


@case(
    "requires-grad-attribute",
    "CSCYQJ/MICCAI23-ProtoContra-SFDA#18",
    "model.outc.requires_grad = False freezes no layer.",
)
def attribute_of_a_module(sick):
    model = Model()
    if sick:
        model.head.requires_grad = False
    else:
        model.head.requires_grad_(False)
    return Situation(model, sgd(model))


@case(
    "requires-grad-attribute", "udacity/deep-learning-v2-pytorch#12", "A letter is missing: param.require_grad = False."
)
def a_letter_is_missing(sick):
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    for parameter in model[0].parameters():
        if sick:
            parameter.require_grad = False
        else:
            parameter.requires_grad = False
    return Situation(model, sgd(model))
