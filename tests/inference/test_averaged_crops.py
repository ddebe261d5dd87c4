"""Whole volumes are predicted from crops of the training size, which cover every voxel."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dimlift.errors import RunError
from dimlift.inference.averaged_crops import classify_volume, covering_crops
from dimlift.inference.coverage import Coverage
from dimlift.methods.method import Method

SIDES = st.tuples(*[st.integers(1, 9)] * 3)


class Means(Method):
    """Return the mean of each channel, and record the sizes of the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, image, features=None):
        self.sizes.append(tuple(image.shape[2:]))
        return image.mean((2, 3, 4))


@given(shape=SIDES, size=SIDES)
def test_crops_cover_every_voxel_with_the_fewest_crops(shape, size):
    covered = np.zeros(shape, int)
    boxes = list(covering_crops(shape, size))
    for box in boxes:
        assert covered[box].shape == tuple(map(min, shape, size))
        covered[box] += 1
    assert covered.min() >= 1
    assert len(boxes) == np.prod([-(-full // length) for full, length in zip(shape, size, strict=True)])


@given(shape=SIDES, size=SIDES)
def test_network_receives_training_sizes_only(shape, size):
    method, counted = Means(), Coverage()
    classify_volume(method, torch.rand(2, *shape), crop=size, coverage=counted)
    assert set(method.sizes) == {size}
    assert counted.windows == len(method.sizes)
    assert counted.predicted == counted.total == np.prod(shape)


def test_probabilities_of_crops_are_averaged():
    image = torch.zeros(2, 1, 1, 8)
    image[0, ..., :4], image[1, ..., 4:] = 3.0, 1.0
    logits = classify_volume(Means(), image, crop=(1, 1, 4))
    wanted = (torch.tensor([3.0, 0.0]).softmax(0) + torch.tensor([0.0, 1.0]).softmax(0)) / 2
    torch.testing.assert_close(logits.softmax(0), wanted)
    torch.testing.assert_close(
        classify_volume(Means(), image, crop=(1, 1, 4), kind="regression"), image.mean((1, 2, 3))
    )


def test_one_crop_has_the_logits_of_the_network():
    image = torch.randn(3, 5, 6, 7)
    assert torch.equal(classify_volume(Means(), image, crop=(5, 6, 7)), image.mean((1, 2, 3)))


def test_small_volume_is_padded_with_its_minimum():
    image = torch.rand(1, 3, 3, 3) + 4
    smallest = float(image.min())
    wanted = (image.sum() + smallest * (8**3 - 27)) / 8**3
    torch.testing.assert_close(classify_volume(Means(), image, crop=(8, 8, 8))[0], wanted)


def test_outputs_that_are_not_finite_are_rejected():
    class Broken(Means):
        def forward(self, image, features=None):
            return torch.full((1, 2), float("nan"))

    with pytest.raises(RunError, match="case_7: 2 of 2 outputs"):
        classify_volume(Broken(), torch.randn(1, 8, 8, 8), crop=(8, 8, 8), case="case_7")
