"""Layers behind the last map that is asked for are gone, and slices too small for the others are named."""

import pytest
import torch

import dimlift
from dimlift.errors import ShapeError


@pytest.mark.parametrize("name", ["timm:tf_efficientnet_lite0", "timm:mobilenetv3_small_050", "timm:resnet10t"])
def test_layers_behind_the_last_map_are_cut_off(name):
    torch.manual_seed(0)
    whole = dimlift.lift(name, features_only=True, certify=False).eval()
    cut = dimlift.lift(name, features_only=True, stages=3, certify=False).eval()
    kept = set(cut.state_dict())
    assert kept < set(whole.state_dict())
    cut.load_state_dict({key: value for key, value in whole.state_dict().items() if key in kept})
    volume = torch.randn(1, 3, 4, 64, 64)
    maps = cut(volume)
    assert len(maps) == 3
    assert all(map(torch.equal, maps, whole(volume)))
    sum(found.abs().sum() for found in cut.train()(volume)).backward()
    assert all(parameter.grad is not None for parameter in cut.parameters())


def test_slices_too_small_for_a_network_are_named():
    lifted = dimlift.lift("timm:test_convnext", features_only=True, certify=False)
    with pytest.raises(ShapeError, match=r"slices of 8 x 40 are too small .* every 32 pixels"):
        lifted(torch.randn(1, 3, 4, 8, 40))
    assert len(lifted(torch.randn(1, 3, 4, 32, 40))) == 4
