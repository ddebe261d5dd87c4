"""A small 2D network, so that tests of frozen features need no download."""

import pytest
import torch
from torch import Tensor, nn

from dimlift.methods.frozen_features.backbone import SliceBackbone, wrap_backbone


class TwoStages(nn.Module):
    """Maps of strides 2 and 4, with symmetric padding, which shifts responses by half a pixel or more."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.first = nn.Conv2d(3, 6, 3, stride=2, padding=1)
            self.second = nn.Sequential(nn.BatchNorm2d(6), nn.GELU(), nn.Conv2d(6, 20, 3, stride=2, padding=1))

            for layer in (self.first, self.second[2]):  # symmetric kernels: responses are centred
                kernel = layer.weight.data
                kernel += kernel.flip(2)
                kernel += kernel.flip(3)

    def forward(self, images: Tensor) -> list[Tensor]:
        fine = self.first(images)
        return [fine, self.second(fine)]


@pytest.fixture
def two_stages() -> SliceBackbone:
    return wrap_backbone(TwoStages())


@pytest.fixture
def other_two_stages() -> SliceBackbone:
    return wrap_backbone(TwoStages(seed=1))
