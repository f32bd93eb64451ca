import copy
import random
import threading
import time

import numpy as np
import pytest
import torch
from torch import nn

from featlab.looks import in_eval, looking, modes_of, put_modes
from featlab.selectors import every


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


def test_random_numbers_of_python_and_numpy_are_put_back():
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    with looking(nn.ReLU()):
        random.random()
        np.random.rand()  # noqa: NPY002
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.zeros(2, device="meta"),
        lambda: torch.eye(3).to_sparse(),
        lambda: torch.eye(3).to_sparse_csr(),
        lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
        lambda: torch.zeros(2, dtype=torch.complex32),
    ],
)
def test_a_buffer_that_cannot_be_compared_or_copied_keeps_none_of_the_others_from_being_put_back(make):
    model, odd = nn.Module(), make()
    model.register_buffer("odd", odd)
    model.register_buffer("plain", torch.zeros(2))
    model.register_buffer("count", torch.arange(3.0).expand(2, 3))
    with looking(model):
        model.plain.add_(1)
        model.count[0, 0] = 7
        model.train(False)
    assert model.odd is odd
    assert not model.plain.any()
    assert model.count.tolist() == [[0, 1, 2], [0, 1, 2]]
    assert model.training


def test_sparse_values_are_put_back():
    model = nn.Module()
    model.register_buffer("sparse", torch.eye(3).to_sparse())
    with looking(model):
        model.sparse.add_(torch.ones(3, 3).to_sparse())
    assert torch.equal(model.sparse.to_dense(), torch.eye(3))


@pytest.mark.parametrize("change", [lambda b: b.resize_(7).zero_(), lambda b: setattr(b, "data", torch.zeros(9))])
def test_a_buffer_has_its_shape_and_storage_back(change):
    model = nn.Module()
    model.register_buffer("queue", torch.ones(3))
    view = model.queue.detach()
    with looking(model):
        change(model.queue)
    assert torch.equal(model.queue, torch.ones(3))
    view.zero_()
    assert not model.queue.any()


def test_looks_in_threads_take_turns():
    model, start = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout()), threading.Barrier(4)
    before = copy.deepcopy(model.state_dict())

    def work():
        start.wait()
        for _ in range(5):
            with looking(model):
                model(torch.randn(8, 4))
                time.sleep(0.001)
                model.eval()

    threads = [threading.Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(module.training for module in model.modules())


def test_in_eval_nests_and_puts_each_flag_back():
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(4).eval())
    with in_eval(model), in_eval(model[0]):
        assert not any(module.training for module in model.modules())
    with pytest.raises(KeyboardInterrupt), in_eval(model):
        raise KeyboardInterrupt
    assert [module.training for module in model.modules()] == [True, True, False]


def test_modes_are_not_given_back_under_a_block_that_needs_eval():
    model = nn.Sequential(nn.Dropout())
    modules = every(model)
    modes = modes_of(modules)
    with in_eval(model):
        assert modes_of(modules) is None
        put_modes(modules, modes)
        assert not model[0].training
    model[0].eval()
    put_modes(modules, modes)
    assert model[0].training
