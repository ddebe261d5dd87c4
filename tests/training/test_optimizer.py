"""The rate's course over the budget, which weights decay, and the moving average."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from dimlift.methods.supervised.volumes import Supervised
from dimlift.training.optimizer import MovingAverage, adamw, rate_share, set_rate


def test_the_rate_rises_then_falls_without_a_jump():
    course = [rate_share(n / 1000, warm_up=0.1, final=0.02) for n in range(1001)]
    peak = course.index(max(course))
    assert peak == 100
    assert course[:101] == sorted(course[:101])
    assert course[100:] == sorted(course[100:], reverse=True)
    assert course[0] > 0
    assert course[100] == pytest.approx(1)
    assert course[-1] == pytest.approx(0.02)
    assert max(abs(a - b) for a, b in pairwise(course)) < 0.011


@pytest.mark.parametrize("warm_up", [0.0, 1.0])
def test_a_course_may_be_all_fall_or_all_rise(warm_up):
    course = [rate_share(n / 100, warm_up) for n in range(100)]
    assert course == sorted(course, reverse=warm_up == 0)


def test_only_kernels_decay_and_groups_keep_their_own_rate():
    net = nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2), nn.Conv3d(2, 2, 1))
    groups = [
        {"params": list(net[:2].parameters()), "lr": 0.1, "name": "encoder"},
        {"params": list(net[2].parameters()), "lr": 1.0, "name": "head"},
    ]
    optimiser = adamw(groups, 0.5)
    set_rate(optimiser, 0.5)
    for group in optimiser.param_groups:
        assert group["lr"] == (0.05 if group["name"].startswith("encoder") else 0.5)
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.5 if parameter.ndim > 1 else 0)
    assert sum(len(group["params"]) for group in optimiser.param_groups) == len(list(net.parameters()))


def test_an_encoder_may_begin_more_slowly_than_the_rest():
    model = nn.Module()
    model.encoder, model.head = nn.Conv3d(1, 2, 3), nn.Conv3d(2, 2, 1)
    method = Supervised(model, encoder_scale=0.5, encoder_warm_up=0.2)
    optimiser = adamw(method.parameter_groups(1.0), 0.0)

    def rates(progress):
        set_rate(optimiser, 0.8, progress)
        return {group["name"].split()[0]: group["lr"] for group in optimiser.param_groups}

    assert rates(0.0) == {"head": 0.8, "encoder": pytest.approx(0.004)}
    assert rates(0.1)["encoder"] == pytest.approx(0.4 * (0.01 + 0.99 / 2))
    assert rates(0.2) == rates(0.9) == {"head": 0.8, "encoder": 0.4}


def test_the_moving_average_lies_between_and_is_put_back():
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    average = MovingAverage(net, decay=0.9)
    with torch.no_grad():
        net.weight.fill_(1)
    for step in range(1000, 1010):
        average.update(net, step)
    torch.testing.assert_close(average.shadow["weight"], torch.full((1, 1), 1 - 0.9**10))
    with average.applied(net):
        assert net.weight.item() < 1
    assert net.weight.item() == 1


def test_the_moving_average_forgets_the_start_early():
    net = nn.Linear(1, 1, bias=False)
    average = MovingAverage(net, decay=0.999)
    for step in range(1, 50):
        with torch.no_grad():
            net.weight.fill_(5)
        average.update(net, step)
    assert average.shadow["weight"].item() == pytest.approx(5, abs=0.05)
