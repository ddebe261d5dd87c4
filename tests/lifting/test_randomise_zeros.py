"""A trial sees what it is there to see: fresh networks mute themselves, and are given a voice while it lasts."""

import pytest
import torch
from torch import nn

import dimlift
from dimlift import DepthPlan
from dimlift.backbones.open_network import open_network
from dimlift.errors import CannotLift
from dimlift.lifting.certify.randomise_zeros import put_back, settle, wake
from dimlift.lifting.layers import conv_kernels


class Branch(nn.Module):
    """x + scale * conv(x): the convolution that talks is heard only through the scale."""

    def __init__(self, scale: float, channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 8, 1)
        self.conv = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.scale = nn.Parameter(torch.full((8, 1, 1), scale))

    def forward(self, x):
        x = self.stem(x)
        return x + self.scale * self.conv(x)


def muted_norm():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    nn.init.zeros_(network[1].weight)
    return network


def muted_kernel():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3))
    nn.init.zeros_(network[1].weight)
    return network


def fading():
    """Signals die out layer by layer under statistics nobody has measured."""
    layers = []
    for _ in range(6):
        conv = nn.Conv2d(8 if layers else 3, 8, 3, padding=1)
        nn.init.normal_(conv.weight, std=1e-4)
        layers += [conv, nn.BatchNorm2d(8)]
        nn.init.uniform_(layers[-1].bias)
    return nn.Sequential(*layers)


def muted_head():
    network, _ = open_network("timm:vit_tiny_patch16_224", img_size=32, depth=1)
    nn.init.zeros_(network.head.weight)
    nn.init.zeros_(network.head.bias)
    return network


FRESH = {
    "head at zero": muted_head,
    "layer scale at zero": lambda: Branch(0.0),
    "layer scale near zero": lambda: Branch(1e-6),
    "batch norm at zero": muted_norm,
    "kernel at zero": muted_kernel,
    "statistics not measured": fading,
}


@pytest.mark.parametrize("fresh", FRESH)
def test_a_wrong_lift_of_a_network_that_says_nothing_is_caught(fresh, monkeypatch):
    network = FRESH[fresh]()
    assert dimlift.lift(network, DepthPlan(kernel=3)).certificate.holds
    right = conv_kernels.convolve_full  # the window one slice too far:
    monkeypatch.setattr(conv_kernels, "convolve_full", lambda x, kernel, how: right(x, kernel.roll(1, 2), how))
    with pytest.raises(CannotLift, match="law of slices should hold"):
        dimlift.lift(network, DepthPlan(kernel=3))


@pytest.mark.parametrize("fresh", FRESH)
@pytest.mark.parametrize("channels", [3, 1])
def test_it_leaves_no_trace(fresh, channels):
    network = FRESH[fresh]()
    certified = dimlift.lift(network, DepthPlan(kernel=3), in_channels=channels)
    plain = dimlift.lift(network, DepthPlan(kernel=3), in_channels=channels, certify=False).state_dict()
    for name, tensor in certified.state_dict().items():
        assert torch.equal(tensor, plain[name]), name
        assert tensor.dtype == plain[name].dtype
    assert "had other numbers while it was checked" in str(certified.certificate)


def test_names_that_share_a_tensor_share_it_before_and_after():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Linear(4, 4), nn.Linear(4, 4))
    nn.init.zeros_(network[1].weight)
    network[2].weight = network[1].weight
    before = wake(network)
    assert {"1.weight", "2.weight"} <= set(before)
    assert network[1].weight.any()
    put_back(network, before)
    assert network[2].weight is network[1].weight
    assert not network[2].weight.any()


def test_statistics_are_put_back_if_the_network_refuses_what_it_is_shown():
    network = fading().eval()

    def refuse():
        network(torch.randn(2, 3, 8, 8))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        settle(network, refuse)
    assert torch.equal(network[1].running_var, torch.ones(8))
    assert network[1].momentum == 0.1
    assert not network[1].training


def test_a_network_that_ignores_its_image_shows_nothing_and_the_certificate_says_so():
    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return 0 * self.conv(x) + 1

    certificate = dimlift.lift(Blind(), DepthPlan(kernel=3)).certificate
    assert not any(claim.claimed for claim in certificate.claims)
    assert "slices: not claimed, the 2D answers do not depend on the image" in str(certificate)
    assert "not tried" in str(certificate)


def test_an_answer_that_shows_nothing_beside_others_that_do_is_named():
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            x = self.conv(x)
            return [x, 0 * x + 1]

    certificate = dimlift.lift(Half(), DepthPlan(kernel=3)).certificate
    assert certificate.holds
    assert "answer 1 does not depend on the image" in str(certificate)
