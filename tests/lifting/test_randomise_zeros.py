"""The equivalence check detects errors in networks with zero-initialised parameters, and restores them afterwards."""

import pytest
import torch
from torch import nn

import dimlift
from dimlift import DepthPlan
from dimlift.backbones.factory import create_backbone
from dimlift.errors import LiftError
from dimlift.lifting.certify.randomise_zeros import calibrate_bn, randomise_zero_init, restore_tensors
from dimlift.lifting.layers import conv_kernels


class Branch(nn.Module):
    """x + scale * conv(x): the inflated convolution contributes through the scale only."""

    def __init__(self, scale: float, channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 8, 1)
        self.conv = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.scale = nn.Parameter(torch.full((8, 1, 1), scale))

    def forward(self, x):
        x = self.stem(x)
        return x + self.scale * self.conv(x)


def zero_init_norm():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    nn.init.zeros_(network[1].weight)
    return network


def zero_init_kernel():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3))
    nn.init.zeros_(network[1].weight)
    return network


def vanishing():
    """Return a network whose signals vanish layer by layer under its initial statistics."""
    layers = []
    for _ in range(6):
        conv = nn.Conv2d(8 if layers else 3, 8, 3, padding=1)
        nn.init.normal_(conv.weight, std=3e-3)
        layers += [conv, nn.BatchNorm2d(8)]
        nn.init.uniform_(layers[-1].bias)
    return nn.Sequential(*layers)


def zero_init_head():
    network, _ = create_backbone("timm:vit_tiny_patch16_224", img_size=32, depth=1)
    nn.init.zeros_(network.head.weight)
    nn.init.zeros_(network.head.bias)
    return network


ZERO_INIT = {
    "head at zero": zero_init_head,
    "layer scale at zero": lambda: Branch(0.0),
    "layer scale near zero": lambda: Branch(1e-6),
    "batch norm at zero": zero_init_norm,
    "kernel at zero": zero_init_kernel,
    "initial statistics": vanishing,
}


@pytest.mark.parametrize("case", ZERO_INIT)
def test_lift_detects_wrong_convolution(case, monkeypatch):
    network = ZERO_INIT[case]()
    assert dimlift.lift(network, DepthPlan(kernel=3)).certificate.holds
    correct = conv_kernels.conv_full  # shifted by one slice:
    monkeypatch.setattr(conv_kernels, "conv_full", lambda x, kernel, args: correct(x, kernel.roll(1, 2), args))
    with pytest.raises(LiftError, match="law of slices should hold"):
        dimlift.lift(network, DepthPlan(kernel=3))


@pytest.mark.parametrize("case", ZERO_INIT)
@pytest.mark.parametrize("channels", [3, 1])
def test_check_restores_every_tensor(case, channels):
    network = ZERO_INIT[case]()
    certified = dimlift.lift(network, DepthPlan(kernel=3), in_chans=channels)
    plain = dimlift.lift(network, DepthPlan(kernel=3), in_chans=channels, certify=False).state_dict()
    for name, tensor in certified.state_dict().items():
        assert torch.equal(tensor, plain[name]), name
        assert tensor.dtype == plain[name].dtype
    assert "had random values during the check" in str(certified.certificate)


def test_randomise_zero_init_keeps_shared_tensors():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Linear(4, 4), nn.Linear(4, 4))
    nn.init.zeros_(network[1].weight)
    network[2].weight = network[1].weight
    before = randomise_zero_init(network)
    assert {"1.weight", "2.weight"} <= set(before)
    assert network[1].weight.any()
    restore_tensors(network, before)
    assert network[2].weight is network[1].weight
    assert not network[2].weight.any()


def test_calibrate_bn_restores_statistics_on_error():
    network = vanishing().eval()

    def refuse():
        network(torch.randn(2, 3, 8, 8))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        calibrate_bn(network, refuse)
    assert torch.equal(network[1].running_var, torch.ones(8))
    assert network[1].momentum == 0.1
    assert not network[1].training


def test_certificate_claims_no_law_for_constant_output():
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return 0 * self.conv(x) + 1

    certificate = dimlift.lift(Constant(), DepthPlan(kernel=3)).certificate
    assert not any(claim.claimed for claim in certificate.claims)
    assert "slices: not claimed, the 2D output does not depend on the image" in str(certificate)
    assert "not measured" in str(certificate)


def test_certificate_names_constant_output_among_others():
    class HalfConstant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            x = self.conv(x)
            return [x, 0 * x + 1]

    certificate = dimlift.lift(HalfConstant(), DepthPlan(kernel=3)).certificate
    assert certificate.holds
    assert "output 1 does not depend on the image" in str(certificate)
