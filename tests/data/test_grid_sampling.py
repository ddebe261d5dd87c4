"""Images, labels and coarse features sampled with one grid have the same positions."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from dimlift.data.preprocessing.interpolation import apply_separable, bspline_matrix, linear_matrix
from dimlift.data.sampling.grid_sampling import sample_feature_box, sample_features, sample_image, sample_label
from dimlift.data.sampling.spatial_augmentation import (
    SpatialAugmentation,
    SpatialTransform,
    sample_spatial_transform,
    sampling_grid,
)

SHAPE = (12, 15, 10)


def aligned_grid(start: tuple[int, int, int], size: tuple[int, int, int]) -> torch.Tensor:
    axes = [torch.arange(first, first + count, dtype=torch.float32) for first, count in zip(start, size, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def random_grid(seed: int = 0, size: tuple[int, int, int] = (8, 9, 7)) -> torch.Tensor:
    settings = SpatialAugmentation(rotation_probability=1, scale_probability=1, elastic_probability=1)
    transform = sample_spatial_transform(np.random.default_rng(seed), settings, (1.0, 1.0, 1.0))
    assert transform is not None
    return sampling_grid(transform, size, (5.5, 7.0, 4.5), (1.0, 1.0, 1.0))


def test_sample_image_matches_scipy():
    volume = torch.randn(2, *SHAPE, dtype=torch.float32)
    grid = random_grid()
    ours = sample_image(volume, grid, fill=torch.tensor([-3.0, 4.0]))
    for channel, fill in enumerate((-3.0, 4.0)):
        positions = grid.reshape(-1, 3).T.numpy()
        expected = ndimage.map_coordinates(volume[channel].numpy(), positions, order=1, mode="grid-constant", cval=fill)
        assert np.allclose(ours[channel].flatten().numpy(), expected, atol=1e-4)


def test_sample_label_takes_nearest_voxel():
    label = torch.randint(-1, 5, SHAPE, dtype=torch.int16)
    grid = random_grid(1)
    near = grid.round()
    inside = ((near >= 0) & (near < torch.tensor(SHAPE))).all(dim=-1)
    z, y, x = near.long().clamp(min=0).minimum(torch.tensor(SHAPE) - 1).unbind(-1)
    expected = torch.where(inside, label[z, y, x], 0)
    assert (sample_label(label[None], grid) == expected).float().mean() > 0.999  # halves may round either way


@pytest.mark.parametrize("seed", range(5))
def test_sample_features_matches_sample_image(seed: int):
    volume = torch.randn(3, *SHAPE)
    grid = random_grid(seed)
    inside = ((grid > 0) & (grid < torch.tensor(SHAPE) - 1)).all(dim=-1)
    image = sample_image(volume, grid, fill=torch.zeros(3))
    features = sample_features(volume, SHAPE, grid)
    assert inside.float().mean() > 0.2
    assert torch.allclose(image[:, inside], features[:, inside], atol=1e-4)


def test_sample_features_positions_of_coarse_maps():
    """Features that hold their own (z, y, x) position in voxels reproduce the grid."""
    coarse = (12, 5, 4)
    full = torch.tensor(SHAPE)
    axes = [(torch.arange(count) + 0.5) * size / count - 0.5 for count, size in zip(coarse, SHAPE, strict=True)]
    positions = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    for seed in range(5):
        grid = random_grid(seed, size=(9, 13, 10))
        low = torch.tensor([float(axis[0]) for axis in axes])
        clear = low + 3  # outside, edge values are repeated
        inside = ((grid >= clear) & (grid <= full - 1 - clear)).all(dim=-1)
        assert inside.sum() > 20
        read = sample_features(positions, SHAPE, grid).permute(1, 2, 3, 0)
        assert (read[inside] - grid[inside]).abs().max() < 0.12  # deformations are sampled at every second voxel


def test_sampling_an_aligned_grid_equals_slicing():
    volume = torch.randn(2, *SHAPE)
    label = torch.randint(0, 4, SHAPE, dtype=torch.int16)
    grid = aligned_grid((2, 3, 1), (6, 7, 5))
    assert torch.allclose(sample_image(volume, grid, torch.zeros(2)), volume[:, 2:8, 3:10, 1:6], atol=1e-5)
    assert torch.equal(sample_label(label[None], grid).short(), label[2:8, 3:10, 1:6])


@settings(max_examples=40, deadline=None)
@given(
    coarse=st.tuples(st.integers(1, 12), st.integers(1, 15), st.integers(1, 10)),
    start=st.tuples(*[st.integers(-3, 9)] * 3),
    size=st.tuples(*[st.integers(1, 9)] * 3),
)
def test_sample_feature_box_matches_interpolate(coarse, start, size):
    """The reference is trilinear interpolation by PyTorch; zero outside of the volume."""
    features = torch.randn(2, *coarse)
    enlarged = F.interpolate(features[None], SHAPE, mode="trilinear", align_corners=False)[0]
    padded = F.pad(enlarged, (3, 20, 3, 20, 3, 20))
    z, y, x = (first + 3 for first in start)
    expected = padded[:, z : z + size[0], y : y + size[1], x : x + size[2]]
    assert torch.allclose(sample_feature_box([features], SHAPE, start, size), expected, atol=1e-5)


def test_sample_feature_box_concatenates_maps():
    one, two = torch.randn(2, 4, 5, 3), torch.randn(3, 12, 2, 2).half()
    both = sample_feature_box([one, two], SHAPE, (0, 0, 0), SHAPE)
    assert both.shape == (5, *SHAPE)
    assert both.dtype == torch.float32
    assert torch.equal(both[:2], sample_feature_box([one], SHAPE, (0, 0, 0), SHAPE))


def test_sample_features_are_zero_outside():
    features = torch.ones(1, 3, 3, 3)
    grid = aligned_grid((-2, 0, 0), (5, *SHAPE[1:]))
    read = sample_features(features, SHAPE, grid)[0]
    assert (read[:2] == 0).all()
    assert torch.allclose(read[2:], torch.ones(()))


def test_interpolation_matrices_sum_to_one():
    positions = torch.linspace(-2, 9, 50)
    assert torch.allclose(linear_matrix(positions, 7).sum(dim=1), torch.ones(50))
    assert torch.allclose(linear_matrix(positions, 1).sum(dim=1), torch.ones(50))
    inside = torch.linspace(0, 4, 33)
    splines = bspline_matrix(inside, 4)
    assert splines.shape == (33, 7)
    assert torch.allclose(splines.sum(dim=1), torch.ones(33), atol=1e-6)
    assert (splines >= 0).all()


def test_bspline_matrix_reproduces_lines():
    positions = torch.linspace(0, 4, 33)
    control = torch.arange(-1.0, 6.0)
    assert torch.allclose(bspline_matrix(positions, 4) @ control, positions, atol=1e-5)


def test_apply_separable_matches_einsum():
    values, matrices = torch.randn(2, 3, 4, 5), [torch.randn(6, 3), torch.randn(7, 4), torch.randn(8, 5)]
    expected = torch.einsum("cdhw,Dd,Hh,Ww->cDHW", values, *matrices)
    assert torch.allclose(apply_separable(values, *matrices), expected, atol=1e-4)


def test_sampling_grid_of_identity():
    grid = sampling_grid(SpatialTransform(torch.eye(3), None), (3, 4, 5), (6.0, 6.5, 4.0), (5.0, 1.0, 1.0))
    assert torch.allclose(grid, aligned_grid((5, 5, 2), (3, 4, 5)))


def test_sampling_grid_rotation_preserves_millimetres():
    spacing = (2.5, 1.0, 0.5)
    settings = SpatialAugmentation(rotation_probability=1, scale_probability=0, elastic_probability=0)
    transform = sample_spatial_transform(np.random.default_rng(3), settings, spacing)
    assert transform is not None
    grid = sampling_grid(transform, (4, 4, 4), (0.0, 0.0, 0.0), spacing) * torch.tensor(spacing)
    for axis, expected in enumerate(spacing):
        assert torch.allclose(grid.diff(dim=axis).norm(dim=-1), torch.tensor(expected), atol=1e-4)


def test_spatial_transform_rotates_thick_slices_in_plane():
    settings = SpatialAugmentation(rotation_probability=1, scale_probability=1, elastic_probability=1)
    for seed in range(5):
        transform = sample_spatial_transform(np.random.default_rng(seed), settings, (5.0, 1.0, 1.0))
        assert transform is not None
        grid = sampling_grid(transform, (4, 6, 6), (2.5, 5.0, 5.0), (5.0, 1.0, 1.0))
        assert torch.allclose(grid[..., 0], (torch.arange(4.0) + 1).view(4, 1, 1).expand(4, 6, 6), atol=1e-5)


def test_elastic_deformation_does_not_fold_space():
    settings = SpatialAugmentation(rotation_probability=0, scale_probability=0, elastic_probability=1, elastic=0.4)
    for seed in range(5):
        transform = sample_spatial_transform(np.random.default_rng(seed), settings, (1.0, 1.0, 1.0))
        assert transform is not None
        grid = sampling_grid(transform, (16, 16, 16), (8.0, 8.0, 8.0), (1.0, 1.0, 1.0))
        steps = torch.stack([grid.diff(dim=axis)[:15, :15, :15] for axis in range(3)], dim=-1)
        assert (torch.linalg.det(steps) > 0).all()


def test_sample_spatial_transform_returns_none_for_identity():
    settings = SpatialAugmentation(rotation_probability=0, scale_probability=0, elastic_probability=0)
    assert sample_spatial_transform(np.random.default_rng(0), settings, (1.0, 1.0, 1.0)) is None
