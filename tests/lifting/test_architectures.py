"""Laws 1 and 2 for the smallest architecture of every model file of timm, slice by slice, without a head over depth."""

import pytest
import timm
import torch
from timm.models import model_entrypoint

import dimlift
from dimlift import DepthPlan
from dimlift.lifting.certify.randomise_zeros import settle
from dimlift.lifting.layers.conv import TalkingConvolution
from lifting.architectures import ARCHITECTURES
from lifting.families import answers, build, images


def tolerance_of(network):
    """Some norms work in single precision whatever the network's."""
    return 1e-6 if any(type(module).__name__.endswith("Fp32") for module in network.modules()) else 1e-9


def file_of(name):
    return model_entrypoint(name).__module__.rpartition(".")[2]


def test_every_model_file_of_timm_is_there():
    assert {file_of(name) for name in timm.list_models()} == {file_of(a.values[0].name) for a in ARCHITECTURES}


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_slices_and_constancy(family):
    network = build(family, torch.float64)
    tolerance = tolerance_of(network)
    slices = images(family, 3, 3, torch.float64)
    settle(network, lambda: answers(network, slices))  # statistics nobody has measured let signals die out
    (flat,) = answers(network, slices)
    scale = flat.abs().max()
    assert (flat - flat[:1]).abs().max() > 1e-6 * scale, "these answers do not depend on the image"

    lifted = dimlift.lift(network, DepthPlan(kernel=3, profile="centre", head="none"), certify=False)
    (deep,) = answers(lifted, slices.transpose(0, 1)[None])
    assert (deep[0] - flat).abs().max() < tolerance * scale

    average(lifted)
    (deep,) = answers(lifted, slices[:1].expand_as(slices).transpose(0, 1)[None])
    assert (deep[0] - flat[:1]).abs().max() < tolerance * scale


@torch.no_grad()
def average(lifted):
    """Share out every kernel that lies in the middle slice over all of them."""
    for module in lifted.modules():
        if isinstance(module, TalkingConvolution) and module.weight.ndim == 5:
            k = module.weight.shape[2]
            module.weight.copy_(module.weight.sum(2, keepdim=True).expand_as(module.weight) / k)
            module.depth_shares.fill_(1 / k)
