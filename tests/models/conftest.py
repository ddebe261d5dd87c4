"""A small encoder with the interface of a lifted network."""

from collections.abc import Callable

import pytest
from torch import Tensor, nn


class SmallEncoder(nn.Module):
    """Two stages of flat or deep convolutions with batch norm: maps at in-plane strides 2 and 4."""

    def __init__(self, in_channels: int, depth_kernel: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.channels = (6, 8)
        self.strides = ((1, 2, 2), (1, 4, 4))
        kernel, padding = (depth_kernel, 3, 3), (depth_kernel // 2, 1, 1)
        self.stem = nn.Conv3d(in_channels, 6, kernel, (1, 2, 2), padding)
        self.layer1 = nn.Sequential(nn.BatchNorm3d(6), nn.GELU())
        self.layer2 = nn.Sequential(nn.Conv3d(6, 8, kernel, (1, 2, 2), padding), nn.BatchNorm3d(8), nn.GELU())

    def forward(self, volume: Tensor) -> list[Tensor]:
        fine = self.layer1(self.stem(volume))
        return [fine, self.layer2(fine)]


@pytest.fixture
def small_encoder() -> Callable[..., SmallEncoder]:
    def build(in_channels: int = 1, depth_kernel: int = 3) -> SmallEncoder:
        return SmallEncoder(in_channels, depth_kernel)

    return build
