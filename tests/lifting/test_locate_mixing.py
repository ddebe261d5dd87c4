"""A lift that fails names the layer and the function to register, and with it the network lifts."""

import pytest
import torch
from torch import nn

import dimlift
from dimlift import DepthPlan
from dimlift.errors import CannotLift
from dimlift.lifting import layer_handlers
from dimlift.lifting.layer_handlers import register_layer
from dimlift.lifting.layers import conv_kernels


class Rolled(nn.Module):
    """Answers with what it was given for the row before."""

    def forward(self, x):
        return x.roll(1, 0)


class Alternating(nn.Module):
    """Scales every other row of the batch."""

    def forward(self, x):
        x = x.clone()
        x[1::2] *= 2
        return x


class Owner(nn.Module):
    """Mixes in its own forward, between layers that do not."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

    def forward(self, x):
        return self.second(self.first(x) - self.first(x).mean(0, keepdim=True))


def behind_a_convolution(layer):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(layer, nn.ReLU()), nn.Conv2d(4, 2, 3))


class Chaotic(nn.Module):
    """Slices stay apart, and a difference in the last digit grows ten-thousandfold and more."""

    def forward(self, x):
        for _ in range(6):
            x = (30 * x).sin()
        return x


def test_a_network_that_blows_up_rounding_is_told_from_one_that_mixes():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Chaotic())
    with pytest.raises(CannotLift, match=r"move by .* when the volume moves by a rounding error.*trained") as caught:
        dimlift.lift(network, DepthPlan(profile="average"))
    assert "register" not in str(caught.value)


def test_a_layer_that_looks_at_other_rows_is_named():
    with pytest.raises(CannotLift, match=r"slices mix in 1\.0 \(Rolled\).*hands\.register_layer\('Rolled', hand\)"):
        dimlift.lift(behind_a_convolution(Rolled()))


def test_a_layer_that_treats_rows_differently_is_named_where_slices_blend_anyway():
    with pytest.raises(CannotLift, match=r"slices mix in 1\.0 \(Alternating\)"):
        dimlift.lift(behind_a_convolution(Alternating()), DepthPlan(kernel=3, profile="average"))


def test_what_happens_between_layers_is_their_owners_doing():
    with pytest.raises(CannotLift, match=r"slices mix in 1 \(Owner\)"):
        dimlift.lift(nn.Sequential(nn.Identity(), Owner()))


def test_a_wrong_convolution_is_named(monkeypatch):
    right = conv_kernels.convolve_full
    monkeypatch.setattr(conv_kernels, "convolve_full", lambda x, kernel, how: right(x, kernel.roll(1, 2), how))
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 2, 3))
    with pytest.raises(CannotLift, match=r"slices mix in 1 \(TalkingConvolution\)"):
        dimlift.lift(network)


class Stacked(nn.Module):
    """Convolves two halves of the channels, one after the other on the leading axis: halves * batch * depth."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3)

    def forward(self, x):
        return torch.cat(self.conv(torch.cat(x.chunk(2, 1))).chunk(2), 1)


class Interleaved(Stacked):
    """The same with the halves last: batch * depth * halves."""

    def forward(self, x):
        halves = torch.stack(x.chunk(2, 1), 1).flatten(0, 1)
        return self.conv(halves).unflatten(0, (-1, 2)).flatten(1, 2)


def test_with_a_registered_hand_the_network_lifts_and_its_source_is_untouched(monkeypatch):
    monkeypatch.setattr(layer_handlers, "HANDS", {})
    network, plan = behind_a_convolution(Stacked()), DepthPlan(kernel=3, profile="average")
    with pytest.raises(CannotLift, match=r"slices mix in 1\.0 \(Stacked\)"):
        dimlift.lift(network, plan)
    register_layer("Stacked", lambda layer: setattr(layer, "__class__", Interleaved))
    certificate = dimlift.lift(network, plan).certificate
    assert certificate.holds
    assert "by a registered hand: 1 (1.0)" in str(certificate)
    assert type(network[1][0]) is Stacked
