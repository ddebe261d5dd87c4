"""A small network over slices, so that the tests of borrowed features rest on no download and no family."""

import pytest
import torch
from torch import Tensor, nn

from dimlift.methods.frozen_features.backbone import SliceNetwork, wrap_network


class TwoStages(nn.Module):
    """Maps of strides 2 and 4; padded evenly, so that answers lie half a pixel and more before their place."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.first = nn.Conv2d(3, 6, 3, stride=2, padding=1)
            self.second = nn.Sequential(nn.BatchNorm2d(6), nn.GELU(), nn.Conv2d(6, 20, 3, stride=2, padding=1))

            for layer in (self.first, self.second[2]):  # mirror images: an answer is centred on its kernel
                kernel = layer.weight.data
                kernel += kernel.flip(2)
                kernel += kernel.flip(3)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        fine = self.first(pictures)
        return [fine, self.second(fine)]


@pytest.fixture
def two_stages() -> SliceNetwork:
    return wrap_network(TwoStages())


@pytest.fixture
def other_two_stages() -> SliceNetwork:
    return wrap_network(TwoStages(seed=1))
