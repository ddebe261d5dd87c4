"""Sliding windows: equal to MONAI, positions kept, features sampled for each window."""

import pytest
import torch
from torch import nn

from dimlift.data.sampling.grid_sampling import sample_feature_box
from dimlift.errors import RunError
from dimlift.inference.sliding_window import labels_of_tiles, segment_volume
from dimlift.methods.frozen_features.sampling import sample_feature_maps
from dimlift.methods.method import Method


class Copy(Method):
    """Return the image (and features) as logits."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, image, features=None):
        self.sizes.append(tuple(image.shape[2:]))
        return image if features is None else torch.cat([image, features], dim=1)


def scores(method, image, **more):
    """Assemble the tiles; every voxel is in one of them."""
    whole, seen = None, torch.zeros(image.shape[1:3])
    for tile in segment_volume(method, image, **more):
        whole = torch.empty(len(tile.logits), *image.shape[1:]) if whole is None else whole
        whole[:, tile.depth, tile.height] = tile.logits
        seen[tile.depth, tile.height] += 1
    assert (seen == 1).all()
    return whole


class PositionDependent(Method):
    """Logits that depend on the position within the window, which makes the blending weights visible."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.mix = nn.Conv3d(2, 5, 3, padding=1)

    def forward(self, image, features=None):
        ramp = torch.linspace(-1, 1, image.shape[2] * image.shape[3] * image.shape[4]).view(image.shape[2:])
        return self.mix(image) * (1 + ramp)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.7])
@pytest.mark.parametrize("size", [(8, 6, 10), (19, 17, 23), (30, 6, 11), (9, 21, 10)])
def test_segment_volume_equals_monai_sliding_window(size, overlap):
    from monai.inferers.utils import sliding_window_inference

    image, window, network = torch.randn(2, *size), (8, 6, 10), PositionDependent().eval()
    with torch.no_grad():
        wanted = sliding_window_inference(image[None], window, 2, network, overlap=overlap, mode="gaussian")[0]
    found = scores(network, image, window=window, overlap=overlap)
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-6)
    labels = labels_of_tiles(segment_volume(network, image, window=window, overlap=overlap), size)
    assert labels.dtype == "uint8"
    assert (labels == wanted.argmax(0).numpy()).all()


def test_segment_volume_reads_slice_margin_of_whole_depth_methods():
    class Deep(Method):
        reads_whole_depth, slice_margin = True, 2

        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(1))
            self.deepest = 0

        def forward(self, image, features=None):
            self.deepest = max(self.deepest, image.shape[2])
            ends = torch.cat([image[:, :, :1]] * 2 + [image] + [image[:, :, -1:]] * 2, dim=2)
            return sum(ends[:, :, shift : shift + image.shape[2]] * (shift + 1) for shift in range(5))

    image, network = torch.randn(1, 23, 8, 8), Deep()
    torch.testing.assert_close(scores(network, image, window=(4, 8, 8)), network(image[None])[0])
    network.deepest = 0
    scores(network, image, window=(4, 8, 8))
    assert network.deepest == 8


@pytest.mark.parametrize("size", [(5, 6, 7), (8, 8, 8), (20, 9, 8), (3, 19, 8)])
def test_segment_volume_keeps_voxel_positions(size):
    image = torch.randn(2, *size)
    network = Copy()
    torch.testing.assert_close(scores(network, image, window=(8, 8, 8)), image)
    assert {s for s in network.sizes} == {(8, 8, 8)}


@pytest.mark.parametrize("size", [(5, 6, 7), (8, 8, 8), (20, 9, 11)])
def test_segment_volume_samples_features_as_training_patches_do(size):
    image = torch.randn(1, *size)
    coarse = [torch.randn(3, 5, 2, 4), torch.randn(2, *size)]
    found = scores(Copy(), image, window=(8, 8, 8), features=coarse)
    torch.testing.assert_close(found[:1], image)
    expected = sample_feature_box(coarse, size, (0, 0, 0), size)
    torch.testing.assert_close(found[1:], expected, rtol=1e-4, atol=1e-4)


def test_segment_volume_samples_strided_features_at_block_centres():
    size, coarse = (16, 8, 8), [torch.randn(3, 4, 2, 3)]

    class Upsampled(Copy):
        def forward(self, image, features=None):
            return nn.functional.interpolate(features, scale_factor=2)

    found = scores(Upsampled(), torch.randn(1, *size), window=(8, 8, 8), features=coarse, feature_stride=2, overlap=0.0)
    expected = sample_feature_box(coarse, size, (0, 0, 0), size, 2)
    torch.testing.assert_close(found[:, ::2, ::2, ::2], expected, rtol=1e-4, atol=1e-4)


def test_sample_features_is_zero_outside_the_volume():
    grid = torch.tensor([-1.2, -1.0, 0.0, 1.0, 1.2]).view(5, 1, 1, 1).expand(-1, -1, -1, 3)
    assert sample_feature_maps([torch.ones(1, 2, 2, 2)], grid).flatten().tolist() == [0, 1, 1, 1, 0]


def test_segment_volume_pads_with_the_minimum():
    class Darkest(Copy):
        def forward(self, image, features=None):
            return image.amin((2, 3, 4), keepdim=True).expand_as(image).clone()

    image = torch.rand(1, 3, 3, 3) + 4
    assert scores(Darkest(), image, window=(8, 8, 8)).min() >= 4


def test_segment_volume_sets_eval_mode():
    class Drops(Copy):
        def forward(self, image, features=None):
            return nn.functional.dropout(image, 0.5, self.training)

    network = Drops().train()
    image = torch.randn(1, 8, 8, 8)
    torch.testing.assert_close(scores(network, image, window=(8, 8, 8)), image)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_segment_volume_rejects_outputs_that_are_not_finite(bad):
    class Broken(Copy):
        def forward(self, image, features=None):
            logits = super().forward(image, features).clone()
            logits[..., -1] = bad
            return logits

    with pytest.raises(RunError, match=r"case_7, window at depth \d+, height \d+, width \d+: .* NaN or infinite"):
        list(segment_volume(Broken(), torch.randn(1, 8, 8, 8), window=(8, 8, 8), case="case_7"))
