"""num_stages drops the layers after the last map; slices below the coarsest stride are reported."""

import pytest
import torch

import dimlift
from dimlift.errors import ShapeError


@pytest.mark.parametrize("name", ["timm:tf_efficientnet_lite0", "timm:mobilenetv3_small_050", "timm:resnet10t"])
def test_num_stages_drops_layers_after_last_map(name):
    torch.manual_seed(0)
    full = dimlift.lift(name, features_only=True, certify=False).eval()
    shorter = dimlift.lift(name, features_only=True, num_stages=3, certify=False).eval()
    kept = set(shorter.state_dict())
    assert kept < set(full.state_dict())
    shorter.load_state_dict({key: value for key, value in full.state_dict().items() if key in kept})
    volume = torch.randn(1, 3, 4, 64, 64)
    maps = shorter(volume)
    assert len(maps) == 3
    assert all(map(torch.equal, maps, full(volume)))
    sum(found.abs().sum() for found in shorter.train()(volume)).backward()
    assert all(parameter.grad is not None for parameter in shorter.parameters())


def test_lifted_module_reports_slices_below_coarsest_stride():
    lifted = dimlift.lift("timm:test_convnext", features_only=True, certify=False)
    with pytest.raises(ShapeError, match=r"slices of 8 x 40 are too small .* every 32 pixels"):
        lifted(torch.randn(1, 3, 4, 8, 40))
    assert len(lifted(torch.randn(1, 3, 4, 32, 40))) == 4
