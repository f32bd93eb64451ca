"""Parameters that nobody trains: not registered, replaced, or forgotten."""

import torch
from torch import nn

from . import Model, Situation, case, sgd


class Net(nn.Module):
    """Layers in whatever container the case is about."""

    def __init__(self, layers, last: int = 2):
        super().__init__()
        self.layers, self.last = layers, nn.Linear(4, last)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.last(x)


@case("unregistered-module", "pytorch/pytorch#1053", "Convolutions in a list stay on the CPU.")
def convolutions(sick):
    layers = [nn.Conv1d(4, 1, width) for width in (3, 4, 5)]
    return Situation(Net(layers if sick else nn.ModuleList(layers)))


@case("unregistered-module", "pytorch/pytorch#59925", "Registration is implicit, and a list escapes it without a word.")
def without_a_word(sick):
    layers = [nn.Linear(4, 4) for _ in range(2)]
    model = Net(layers if sick else nn.ModuleList(layers))
    return Situation(model, sgd(model), torch.randn(3, 4))


@case("unregistered-module", "namisan/mt-dnn#45", "Dropout layers in a list never hear of eval().")
def dropout_list(sick):
    layers = [nn.Dropout(0.1), nn.Dropout(0.2)]
    return Situation(Net(layers if sick else nn.ModuleList(layers)).eval())


@case("unregistered-module", "twitter/the-algorithm-ml#136", "An MLP keeps its layers in a Python list.")
def mlp(sick):
    layers = []
    for _ in range(2):
        layers += [nn.Linear(4, 4), nn.ReLU()]
    return Situation(Net(layers if sick else nn.ModuleList(layers)))


def _parameter(code, report, story):
    def register(make):
        def build(sick):
            model = nn.Module()
            model.body = nn.Linear(2, 2)
            model.own = make() if sick else nn.Parameter(make().detach())
            return Situation(model, torch.optim.SGD(model.parameters(), lr=0.1))

        return case(code, report, story)(build)

    return register


# `.to` another dtype stands for `.to` another device: both give a tensor that is no Parameter
@_parameter("unregistered-parameter", "pytorch/pytorch#20089", "nn.Parameter(...).cuda() is not in parameters().")
def moved_parameter():
    return nn.Parameter(torch.ones(10)).to(torch.float64)


@_parameter("unregistered-parameter", "pytorch/pytorch#17484", "nn.Parameter(...).to(device) is not in state_dict().")
def moved_to_a_device():
    return nn.Parameter(torch.rand(5)).to(torch.float16)


@_parameter(
    "unregistered-parameter", "d2l-ai/d2l-en#1713", "A tensor that requires grad, multiplied by 0.01, is no leaf."
)
def scaled():
    return torch.randn(3, requires_grad=True) * 0.01


@case(
    "unregistered-parameter",
    "KaiyangZhou/pytorch-center-loss#23",
    "The centres of a loss are no parameters; the list is empty.",
)
def centres(sick):
    class CenterLoss(nn.Module):
        def __init__(self):
            super().__init__()
            centers = nn.Parameter(torch.randn(3, 2))
            self.centers = centers.double() if sick else nn.Parameter(centers.double().detach())

    return Situation(CenterLoss())


@case("optimizer-holds-stranger", "pytorch/pytorch#14467", "A layer is replaced after the optimizer was built.")
def replaced_head(sick):
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.head = nn.Linear(8, 5)
    if not sick:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Situation(model, optimizer)


@case(
    "optimizer-holds-stranger", "microsoft/nni#4521", "Pruning puts smaller layers in; finetuning moves the old ones."
)
def pruned(sick):
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(model.parameters())
    small = [nn.Linear(8, 5), nn.Linear(5, 2)]
    for index, layer in enumerate(small):
        model[index] = layer
    if not sick:
        optimizer = torch.optim.Adam(model.parameters())
    return Situation(model, optimizer)


@case(
    "optimizer-holds-stranger",
    "openvinotoolkit/nncf#327",
    "An initialisation replaces parameters instead of filling them.",
)
def replaced_scale(sick):
    model = nn.Linear(3, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    if sick:
        model.weight = nn.Parameter(torch.ones(3, 3))
    else:
        nn.init.ones_(model.weight)
    return Situation(model, optimizer)


@case(
    "optimizer-holds-stranger", "automl/ConfigurableOptimizer#27", "A wider convolution is swapped in during training."
)
def widened(sick):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wide = nn.Conv2d(3, 6, 1)
    model[0] = wide
    if not sick:
        optimizer.param_groups[0]["params"] = list(wide.parameters())
    return Situation(model, optimizer)


@case(
    "parameter-in-no-optimizer", "4uiiurz1/pytorch-adacos#10", "The class centres of a metric head have no optimizer."
)
def metric_head(sick):
    model = nn.ModuleDict({"model": nn.Linear(8, 4), "metric_fc": nn.Linear(4, 3, bias=False)})
    optimizer = torch.optim.SGD((model["model"] if sick else model).parameters(), lr=0.1)
    return Situation(model, optimizer)


@case("parameter-in-no-optimizer", "ifzhang/FairMOT#223", "The loss holds a classifier that is never trained.")
def classifier_in_the_loss(sick):
    model, loss = nn.Linear(4, 4), nn.ModuleDict({"classifier": nn.Linear(4, 7)})
    both = nn.ModuleList([model, loss])
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    if not sick:
        optimizer.add_param_group({"params": loss.parameters()})
    return Situation(both, optimizer)


@case("parameter-in-no-optimizer", "zjunlp/HVPNeT#5", "A group is put together and not appended.")
def not_appended(sick):
    model = nn.ModuleDict({"bert": nn.Linear(4, 4), "crf": nn.Linear(4, 2), "fc": nn.Linear(4, 2)})
    groups = [{"params": [p for n, p in model.named_parameters() if "bert" in n], "lr": 1e-5}]
    rest = {"params": [p for n, p in model.named_parameters() if "crf" in n or n.startswith("fc")], "lr": 1e-2}
    if not sick:
        groups.append(rest)
    return Situation(model, torch.optim.AdamW(groups))


@case(
    "parameter-in-no-optimizer",
    "KaiyangZhou/pytorch-center-loss#11",
    "The centre loss does not fall: its centres stay.",
)
def centres_stay(sick):
    model = nn.ModuleDict({"model": Model(), "loss": nn.Embedding(3, 8)})
    optimizers = [sgd(model["model"])]
    if not sick:
        optimizers.append(torch.optim.SGD(model["loss"].parameters(), lr=0.5))
    return Situation(model, optimizers)
