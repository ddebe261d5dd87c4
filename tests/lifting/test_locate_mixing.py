"""A lift that fails names the layer and the function to register; with it the network lifts."""

import pytest
import torch
from torch import nn

import dimlift
from dimlift import DepthPlan
from dimlift.errors import LiftError
from dimlift.lifting import register_layer, registry
from dimlift.lifting.layers import conv_kernels


class Rolled(nn.Module):
    """Returns the input of the previous batch row."""

    def forward(self, x):
        return x.roll(1, 0)


class Alternating(nn.Module):
    """Scales every other batch row."""

    def forward(self, x):
        x = x.clone()
        x[1::2] *= 2
        return x


class MixingParent(nn.Module):
    """Mixes slices in its own forward, between layers that do not."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

    def forward(self, x):
        return self.second(self.first(x) - self.first(x).mean(0, keepdim=True))


def after_conv(layer):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(layer, nn.ReLU()), nn.Conv2d(4, 2, 3))


class Chaotic(nn.Module):
    """Keeps slices separate and amplifies a rounding error more than ten-thousandfold."""

    def forward(self, x):
        for _ in range(6):
            x = (30 * x).sin()
        return x


def test_lift_reports_network_that_amplifies_rounding():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Chaotic())
    with pytest.raises(LiftError, match=r"change by .* when the volume changes by a rounding error.*trained") as caught:
        dimlift.lift(network, DepthPlan(inflation="average"))
    assert "register" not in str(caught.value)


def test_lift_names_layer_that_mixes_rows():
    with pytest.raises(
        LiftError, match=r"slices mix in 1\.0 \(Rolled\).*registry\.register_layer\('Rolled', handler\)"
    ):
        dimlift.lift(after_conv(Rolled()))


def test_lift_names_layer_that_depends_on_row_index():
    with pytest.raises(LiftError, match=r"slices mix in 1\.0 \(Alternating\)"):
        dimlift.lift(after_conv(Alternating()), DepthPlan(kernel=3, inflation="average"))


def test_lift_names_parent_that_mixes_between_layers():
    with pytest.raises(LiftError, match=r"slices mix in 1 \(MixingParent\)"):
        dimlift.lift(nn.Sequential(nn.Identity(), MixingParent()))


def test_lift_names_wrong_convolution(monkeypatch):
    correct = conv_kernels.conv_full
    monkeypatch.setattr(conv_kernels, "conv_full", lambda x, kernel, args: correct(x, kernel.roll(1, 2), args))
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 2, 3))
    with pytest.raises(LiftError, match=r"slices mix in 1 \(InflatedConv2d\)"):
        dimlift.lift(network)


class Stacked(nn.Module):
    """Convolves two halves of the channels, stacked in front of the batch: halves * batch * depth."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3)

    def forward(self, x):
        return torch.cat(self.conv(torch.cat(x.chunk(2, 1))).chunk(2), 1)


class Interleaved(Stacked):
    """The same with the halves behind depth: batch * depth * halves."""

    def forward(self, x):
        halves = torch.stack(x.chunk(2, 1), 1).flatten(0, 1)
        return self.conv(halves).unflatten(0, (-1, 2)).flatten(1, 2)


def test_registered_handler_lets_network_lift(monkeypatch):
    monkeypatch.setitem(registry.LAYER_HANDLERS, "Stacked", None)
    network, plan = after_conv(Stacked()), DepthPlan(kernel=3, inflation="average")
    with pytest.raises(LiftError, match=r"slices mix in 1\.0 \(Stacked\)"):
        dimlift.lift(network, plan)
    register_layer("Stacked", lambda layer: setattr(layer, "__class__", Interleaved))
    certificate = dimlift.lift(network, plan).certificate
    assert certificate.holds
    assert "converted by a registered handler: 1 (1.0)" in str(certificate)
    assert type(network[1][0]) is Stacked
