"""The laws "slices" and "constancy" for the smallest architecture of every model file of timm."""

import pytest
import timm
import torch
from timm.models import model_entrypoint

import dimlift
from dimlift import DepthPlan
from dimlift.lifting.certify.randomise_zeros import calibrate_bn
from dimlift.lifting.layers.conv import InflatedConv2d
from lifting.architectures import ARCHITECTURES
from lifting.families import build, images, run_network


def tolerance_of(network):
    """Some norms compute in single precision, whatever the network's."""
    return 1e-6 if any(type(module).__name__.endswith("Fp32") for module in network.modules()) else 1e-9


def file_of(name):
    return model_entrypoint(name).__module__.rpartition(".")[2]


def test_architectures_cover_every_timm_model_file():
    assert {file_of(name) for name in timm.list_models()} == {file_of(a.values[0].name) for a in ARCHITECTURES}


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_lift_keeps_slices_and_constancy(family):
    network = build(family, torch.float64)
    tolerance = tolerance_of(network)
    slices = images(family, 3, 3, torch.float64)
    calibrate_bn(network, lambda: run_network(network, slices))  # signals vanish under the initial statistics
    lifted = dimlift.lift(network, DepthPlan(kernel=3, inflation="centre", slice_pool="none"), certify=False)
    padded = lifted.padding(slices[None])[0]  # the 2D network would leave the last pixels unread
    (flat,) = run_network(network, padded)
    scale = flat.abs().max()
    assert (flat - flat[:1]).abs().max() > 1e-6 * scale, "the output does not depend on the image"

    (deep,) = run_network(lifted, slices.transpose(0, 1)[None])
    assert (deep[0] - flat).abs().max() < tolerance * scale

    average(lifted)
    (deep,) = run_network(lifted, slices[:1].expand_as(slices).transpose(0, 1)[None])
    assert (deep[0] - flat[:1]).abs().max() < tolerance * scale


@torch.no_grad()
def average(lifted):
    """Replace every centre inflation by the average."""
    for module in lifted.modules():
        if isinstance(module, InflatedConv2d) and module.weight.ndim == 5:
            k = module.weight.shape[2]
            module.weight.copy_(module.weight.sum(2, keepdim=True).expand_as(module.weight) / k)
            module.inflated_one.fill_(1 / k)
