"""Learning rate schedule, weight decay by parameter, and the moving average of weights."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from dimlift.methods.supervised.volumes import Supervised
from dimlift.training.optimizer import ModelEMA, lr_factor, make_adamw, set_lr


def test_lr_factor_is_continuous_warmup_and_decay():
    schedule = [lr_factor(n / 1000, warmup_fraction=0.1, min_lr_fraction=0.02) for n in range(1001)]
    peak = schedule.index(max(schedule))
    assert peak == 100
    assert schedule[:101] == sorted(schedule[:101])
    assert schedule[100:] == sorted(schedule[100:], reverse=True)
    assert schedule[0] > 0
    assert schedule[100] == pytest.approx(1)
    assert schedule[-1] == pytest.approx(0.02)
    assert max(abs(a - b) for a, b in pairwise(schedule)) < 0.011


@pytest.mark.parametrize("warmup_fraction", [0.0, 1.0])
def test_lr_factor_without_warmup_or_decay(warmup_fraction):
    schedule = [lr_factor(n / 100, warmup_fraction) for n in range(100)]
    assert schedule == sorted(schedule, reverse=warmup_fraction == 0)


def test_make_adamw_decays_kernels_only():
    net = nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2), nn.Conv3d(2, 2, 1))
    groups = [
        {"params": list(net[:2].parameters()), "lr": 0.1, "name": "encoder"},
        {"params": list(net[2].parameters()), "lr": 1.0, "name": "head"},
    ]
    optimizer = make_adamw(groups, 0.5)
    set_lr(optimizer, 0.5)
    for group in optimizer.param_groups:
        assert group["lr"] == (0.05 if group["name"].startswith("encoder") else 0.5)
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.5 if parameter.ndim > 1 else 0)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(net.parameters()))


def test_set_lr_applies_group_warmup():
    model = nn.Module()
    model.encoder, model.head = nn.Conv3d(1, 2, 3), nn.Conv3d(2, 2, 1)
    method = Supervised(model, encoder_lr_scale=0.5, encoder_warmup_fraction=0.2)
    optimizer = make_adamw(method.param_groups(1.0), 0.0)

    def learning_rates(progress):
        set_lr(optimizer, 0.8, progress)
        return {group["name"].split()[0]: group["lr"] for group in optimizer.param_groups}

    assert learning_rates(0.0) == {"head": 0.8, "encoder": pytest.approx(0.004)}
    assert learning_rates(0.1)["encoder"] == pytest.approx(0.4 * (0.01 + 0.99 / 2))
    assert learning_rates(0.2) == learning_rates(0.9) == {"head": 0.8, "encoder": 0.4}


def test_model_ema_applies_and_restores():
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    average = ModelEMA(net, decay=0.9)
    with torch.no_grad():
        net.weight.fill_(1)
    for step in range(1000, 1010):
        average.update(net, step)
    torch.testing.assert_close(average.shadow["weight"], torch.full((1, 1), 1 - 0.9**10))
    with average.applied(net):
        assert net.weight.item() < 1
    assert net.weight.item() == 1


def test_model_ema_decays_initial_weights_early():
    net = nn.Linear(1, 1, bias=False)
    average = ModelEMA(net, decay=0.999)
    for step in range(1, 50):
        with torch.no_grad():
            net.weight.fill_(5)
        average.update(net, step)
    assert average.shadow["weight"].item() == pytest.approx(5, abs=0.05)
