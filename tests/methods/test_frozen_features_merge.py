"""Merged maps keep features and positions, and are created only if smaller."""

import pytest
import torch

from dimlift.methods.frozen_features.merge import merge_maps
from dimlift.methods.frozen_features.sampling import sample_feature_maps, window_grid

SIZE = (12, 16, 10)


def ramp(grid: tuple[int, int, int], channels: int) -> torch.Tensor:
    """Return a linear function of position, in units of the volume, comparable between grids."""
    axes = torch.meshgrid(*((torch.arange(n) + 0.5) / n for n in grid), indexing="ij")
    return torch.stack([(number + 1) * axes[number % 3] for number in range(channels)])


def test_merge_maps_keeps_positions_and_channels():
    maps = [ramp((12, 24, 15), 2), ramp((24, 16, 20), 3)]
    (one,) = merge_maps(maps, SIZE, 2)
    assert one.shape == (5, 6, 8, 5)
    inside = window_grid(SIZE, (2, 2, 2), (8, 12, 6))
    torch.testing.assert_close(sample_feature_maps([one], inside), sample_feature_maps(maps, inside), atol=2e-2, rtol=0)


def test_merge_maps_averages_on_coarser_grid():
    fine = torch.randn(1, 24, 32, 20)
    (one,) = merge_maps([fine], SIZE, 2)
    torch.testing.assert_close(one, torch.nn.functional.avg_pool3d(fine[None], 4)[0])


@pytest.mark.parametrize("stride", [1, 2])
def test_merge_maps_keeps_coarse_maps(stride):
    maps = [torch.randn(24, 40, 4, 4), torch.randn(24, 40, 2, 2)]
    assert all(a is b for a, b in zip(merge_maps(maps, (40, 64, 64), stride), maps, strict=True))
