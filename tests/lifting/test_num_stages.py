"""num_stages drops the layers after the last map; slices below the coarsest stride are reported."""

import pytest
import torch
from torch import nn

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
    class Unpadded(nn.Module):
        def __init__(self):
            super().__init__()
            self.fine, self.coarse = nn.Conv2d(3, 4, 9, 4), nn.Conv2d(4, 4, 9, 4)

        def forward(self, x):
            return [self.coarse(self.fine(x))]

    lifted = dimlift.lift(Unpadded(), certify=False)
    with pytest.raises(ShapeError, match=r"slices of \d+ x \d+ are too small .* every 16 pixels"):
        lifted(torch.randn(1, 3, 4, 8, 50))
    assert len(lifted(torch.randn(1, 3, 4, 50, 50))) == 1


def test_slices_below_coarsest_stride_are_padded_to_it():
    lifted = dimlift.lift("timm:test_convnext", features_only=True, certify=False)
    assert [tuple(m.shape[2:]) for m in lifted(torch.randn(1, 3, 4, 8, 40))] == [
        (4, 2, 10), (4, 1, 5), (4, 1, 3), (4, 1, 2)
    ]  # fmt: skip
