import pytest
import torch
from torch import nn

from featlab.looks import looking


def test_a_train_mode_forward_inside_a_look_moves_nothing():
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(), nn.BatchNorm1d(4).eval())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    rng = torch.get_rng_state()
    for error in (None, KeyboardInterrupt):
        try:
            with looking(model):
                model(torch.randn(8, 4))
                model.eval()
                model[0].running_var = torch.zeros(4)
                if error:
                    raise error
        except KeyboardInterrupt:
            pass
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        assert [m.training for m in model.modules()] == [True, True, True, False]
        assert torch.equal(torch.get_rng_state(), rng)


def test_buffers_stay_the_same_tensors():
    model = nn.BatchNorm1d(4)
    mine = model.running_mean
    with looking(model):
        model.running_mean = torch.ones(4)
    assert model.running_mean is mine


def test_a_graph_made_before_the_look_still_runs_backward():
    model = nn.BatchNorm1d(4).eval()
    loss = model(torch.randn(8, 4)).sum()
    with looking(model):
        model.train()(torch.randn(8, 4))
    loss.backward()
    assert model.weight.grad is not None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_in_a_buffer_are_no_obstacle(value):
    model = nn.BatchNorm1d(1)
    model.running_mean.fill_(value)
    with looking(model):
        model.running_mean.zero_()
    assert torch.equal(model.running_mean.isfinite(), torch.tensor([False]))


def test_torchscript_is_put_back_too():
    model = torch.jit.script(nn.Sequential(nn.BatchNorm1d(4)))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with looking(model):
        model(torch.randn(8, 4))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
