import pytest
import torch
from torch import nn

from featlab.switches import evaluating, modes


def mixed() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Sequential(nn.Dropout()))
    model[1].eval()
    return model


def test_modes_reads_each_submodule_s_own_flag():
    model = mixed()
    assert dict(modes(model)) == {n: "train" if m.training else "eval" for n, m in model.named_modules()}
    assert modes(model).summary == "mixed: 4 train, 1 eval"
    assert modes(model.eval()).summary == "all 5 eval"


def test_modes_is_a_snapshot():
    model = mixed()
    before = modes(model)
    model.eval()
    assert before["0"] == "train"


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_evaluating_puts_each_flag_back_whatever_ends_the_block(error):
    model = mixed()
    before = dict(modes(model))
    try:
        with evaluating(model):
            assert modes(model).summary == "all 5 eval"
            model[0].train()
            if error:
                raise error
    except (ValueError, KeyboardInterrupt):
        pass
    assert dict(modes(model)) == before


def test_evaluating_calls_no_train_of_the_model_s_own():
    class Counts(nn.Linear):
        calls = 0

        def train(self, mode=True):
            Counts.calls += 1
            return super().train(mode)

    model = nn.Sequential(Counts(2, 2))
    Counts.calls = 0
    with evaluating(model):
        assert not model[0].training
    assert Counts.calls == 0


def test_evaluating_moves_no_statistics():
    model = mixed().train()
    before = model[1].running_mean.clone()
    with evaluating(model):
        model(torch.randn(4, 2))
    assert torch.equal(model[1].running_mean, before)
