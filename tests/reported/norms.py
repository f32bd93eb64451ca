"""BatchNorm with the wrong numbers: momentum of another library, no statistics, statistics that are NaN."""

import torch
from torch import nn

from . import Model, Situation, case, images


def _momentum(value: float, kind: type = nn.BatchNorm2d) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), kind(4, momentum=value), nn.ReLU())


@case("keras-momentum", "r9y9/tacotron_pytorch#19", "TensorFlow's default of 0.99 is taken over as it stands.")
def tacotron(sick):
    norm = nn.BatchNorm1d(4, momentum=0.99 if sick else 0.01, eps=1e-3)
    return Situation(nn.Sequential(nn.Conv1d(3, 4, 1), nn.ReLU(), norm))


@case("keras-momentum", "kazuto1011/deeplab-pytorch#79", "0.999 for small batches, where 0.001 is meant.")
def deeplab(sick):
    model = nn.Sequential()
    model.add_module("conv", nn.Conv2d(3, 4, 1, bias=False))
    model.add_module("bn", nn.BatchNorm2d(4, eps=1e-5, momentum=0.999 if sick else 0.001))
    return Situation(model)


@case("keras-momentum", "pytorch/vision#8250", "torchvision's MaxVit had the momentum of the original code.")
def maxvit(sick):
    norm_layer = (lambda n: nn.BatchNorm2d(n, eps=1e-3, momentum=0.99)) if sick else nn.BatchNorm2d
    return Situation(nn.Sequential(nn.Conv2d(3, 4, 1), norm_layer(4), nn.GELU(), nn.Conv2d(4, 4, 1), norm_layer(4)))


@case("keras-momentum", "ludwig-ai/ludwig#2100", "A momentum of 0.95 in a configuration that once was TensorFlow's.")
def tabnet(sick):
    config = {"bn_momentum": 0.95 if sick else 0.05}
    return Situation(nn.Sequential(nn.BatchNorm1d(6, momentum=config["bn_momentum"]), nn.Linear(6, 2)))


@case("batch-statistics-in-eval", "TengdaHan/DPC#21", "track_running_stats=False in a backbone, by mistake.")
def by_mistake(sick):
    model = nn.Sequential(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2, track_running_stats=not sick))
    return Situation(model.eval())


@case("batch-statistics-in-eval", "xu-ji/IIC#49", "Test accuracy depends on how the test batch is put together.")
def test_batches(sick):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, track_running_stats=not sick), nn.Flatten())
    return Situation(model.eval(), x=torch.randn(6, 1, 5, 5))


@case("batch-statistics-in-eval", "pytorch/pytorch#156051", "One sample in eval raises, as if it were in train mode.")
def one_sample_in_eval(sick):
    return Situation(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, track_running_stats=not sick)).eval())


@case("statistics-not-finite", "facebookresearch/SparseConvNet#190", "Training works, and every test result is NaN.")
def every_test_result(sick):
    model = Model().train()
    x = images()
    x[0, 0, 0, 0] = float("inf") if sick else 1.0  # one broken pixel in one batch
    model(x)
    return Situation(model.eval())


@case("statistics-not-finite", "pytorch/pytorch#1206", "A finetuned resnet answers the same to everything in eval.")
def finetuned_resnet(sick):
    model = _momentum(0.1).train()
    with torch.no_grad():
        if sick:
            model[0].weight[0] = float("nan")  # a step that went too far ...
        model(images())
        nn.init.normal_(model[0].weight)  # ... and was undone; the statistics were not
    return Situation(model.eval())


def _alone(code, report, story):
    """Register a model that is given one image in train mode, and two in its mended form."""

    def register(build):
        return case(code, report, story)(lambda sick: Situation(build().train(), x=images(1 if sick else 2)))

    return register


@_alone("one-value-per-channel", "fastai/fastai#1352", "The epoch ends with a batch of one.")
def ends_with_one():
    return nn.Sequential(Model().backbone, nn.BatchNorm1d(8), nn.Linear(8, 2))


@_alone("one-value-per-channel", "NRCan/geo-deep-learning#113", "The last batch of a dataset holds one item.")
def last_item():
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


@_alone("one-value-per-channel", "meetps/pytorch-semseg#214", "A pyramid pools a single image to one pixel.")
def pyramid():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
