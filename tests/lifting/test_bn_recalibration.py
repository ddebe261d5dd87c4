"""Recomputed batch-norm statistics."""

import pytest
import torch
from torch import nn

import dimlift
from dimlift import DepthPlan
from dimlift.errors import LiftError, ShapeError


def lifted():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3))
    return dimlift.lift(network, DepthPlan(kernel=3, inflation="average"))


def volumes():
    return [5 + 2 * torch.randn(1, 1, depth, 8, 8) for depth in (4, 6)]


def test_recalibrate_bn_averages_statistics_over_volumes():
    network, shown = lifted(), volumes()
    inside = []
    network.network[0].register_forward_hook(lambda module, inputs, out: inside.append(out))
    assert dimlift.recalibrate_bn(network, iter(shown)) == 1
    norm = network.network[1]
    torch.testing.assert_close(norm.running_mean, torch.stack([x.mean((0, 2, 3)) for x in inside]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([x.var((0, 2, 3)) for x in inside]).mean(0))


def test_recalibrate_bn_normalises_variance():
    network, shown = lifted().eval(), volumes()
    seen = []
    network.network[1].register_forward_hook(lambda module, inputs, out: seen.append(out.var((0, 2, 3))))
    network(shown[0])
    dimlift.recalibrate_bn(network, shown)
    network(shown[0])
    assert ((seen[0] - 1).abs() > 0.4).any()
    assert ((seen[-1] - 1).abs() < 0.4).all()


@pytest.mark.parametrize("training", [True, False])
def test_recalibrate_bn_keeps_weights_modes_and_momentum(training):
    network = lifted().train(training)
    network.network[3].eval()
    modes = [module.training for module in network.modules()]
    before = {name: p.clone() for name, p in network.named_parameters()}
    dimlift.recalibrate_bn(network, volumes())
    assert [module.training for module in network.modules()] == modes
    assert network.network[1].momentum == 0.1
    assert all(torch.equal(p, before[name]) and p.grad is None for name, p in network.named_parameters())


def test_recalibrate_bn_restores_statistics_on_error():
    network = lifted()
    statistics = [b.clone() for b in network.buffers()]
    for shown, fault in (([volumes()[0], torch.zeros(1, 2, 3, 8, 8)], "lift it with in_chans=2"), ([], "at least")):
        with pytest.raises(ShapeError, match=fault):
            dimlift.recalibrate_bn(network, shown)
        assert all(torch.equal(a, b) for a, b in zip(network.buffers(), statistics, strict=True))
        assert network.training
    with pytest.raises(LiftError, match="no batch norm"):
        dimlift.recalibrate_bn(dimlift.lift(nn.Conv2d(1, 2, 3)), volumes())
