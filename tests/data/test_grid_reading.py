"""Image, label and coarse features read through one grid show the same place."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from dimlift.data.preprocessing.interpolation import bspline_matrix, linear_matrix, separable
from dimlift.data.sampling.grid_sampling import features_of_box, read_features, read_image, read_label
from dimlift.data.sampling.spatial_augmentation import Warp, WarpSettings, draw_warp, sampling_grid

SHAPE = (12, 15, 10)


def upright_grid(start: tuple[int, int, int], size: tuple[int, int, int]) -> torch.Tensor:
    axes = [torch.arange(first, first + count, dtype=torch.float32) for first, count in zip(start, size, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def warped_grid(seed: int = 0, size: tuple[int, int, int] = (8, 9, 7)) -> torch.Tensor:
    settings = WarpSettings(rotation_probability=1, scale_probability=1, elastic_probability=1)
    warp = draw_warp(np.random.default_rng(seed), settings, (1.0, 1.0, 1.0))
    assert warp is not None
    return sampling_grid(warp, size, (5.5, 7.0, 4.5), (1.0, 1.0, 1.0))


def test_reading_through_a_warp_equals_scipy():
    volume = torch.randn(2, *SHAPE, dtype=torch.float32)
    grid = warped_grid()
    ours = read_image(volume, grid, fill=torch.tensor([-3.0, 4.0]))
    for channel, fill in enumerate((-3.0, 4.0)):
        places = grid.reshape(-1, 3).T.numpy()
        theirs = ndimage.map_coordinates(volume[channel].numpy(), places, order=1, mode="grid-constant", cval=fill)
        assert np.allclose(ours[channel].flatten().numpy(), theirs, atol=1e-4)


def test_labels_are_the_nearest_voxel():
    label = torch.randint(-1, 5, SHAPE, dtype=torch.int16)
    grid = warped_grid(1)
    near = grid.round()
    inside = ((near >= 0) & (near < torch.tensor(SHAPE))).all(dim=-1)
    z, y, x = near.long().clamp(min=0).minimum(torch.tensor(SHAPE) - 1).unbind(-1)
    wanted = torch.where(inside, label[z, y, x], 0)
    assert (read_label(label[None], grid) == wanted).float().mean() > 0.999  # halves may round either way


@pytest.mark.parametrize("seed", range(5))
def test_features_as_fine_as_the_image_move_with_it(seed: int):
    volume = torch.randn(3, *SHAPE)
    grid = warped_grid(seed)
    inside = ((grid > 0) & (grid < torch.tensor(SHAPE) - 1)).all(dim=-1)
    image = read_image(volume, grid, fill=torch.zeros(3))
    features = read_features(volume, SHAPE, grid)
    assert inside.float().mean() > 0.2
    assert torch.allclose(image[:, inside], features[:, inside], atol=1e-4)


def test_coarse_features_show_the_place_they_were_made_at():
    """Features that hold their own (z, y, x) place, in voxels, give back the grid."""
    coarse = (12, 5, 4)
    full = torch.tensor(SHAPE)
    axes = [(torch.arange(count) + 0.5) * size / count - 0.5 for count, size in zip(coarse, SHAPE, strict=True)]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    for seed in range(5):
        grid = warped_grid(seed, size=(9, 13, 10))
        low = torch.tensor([float(axis[0]) for axis in axes])
        clear = low + 3  # beyond the outermost features their edge repeats, and knots there touch their neighbours
        inside = ((grid >= clear) & (grid <= full - 1 - clear)).all(dim=-1)
        assert inside.sum() > 20
        read = read_features(places, SHAPE, grid).permute(1, 2, 3, 0)
        assert (read[inside] - grid[inside]).abs().max() < 0.12  # bending is read at every second voxel


def test_a_grid_that_is_a_box_equals_slicing():
    volume = torch.randn(2, *SHAPE)
    label = torch.randint(0, 4, SHAPE, dtype=torch.int16)
    grid = upright_grid((2, 3, 1), (6, 7, 5))
    assert torch.allclose(read_image(volume, grid, torch.zeros(2)), volume[:, 2:8, 3:10, 1:6], atol=1e-5)
    assert torch.equal(read_label(label[None], grid).short(), label[2:8, 3:10, 1:6])


@settings(max_examples=40, deadline=None)
@given(
    coarse=st.tuples(st.integers(1, 12), st.integers(1, 15), st.integers(1, 10)),
    start=st.tuples(*[st.integers(-3, 9)] * 3),
    size=st.tuples(*[st.integers(1, 9)] * 3),
)
def test_a_box_of_features_is_a_part_of_all_features_enlarged(coarse, start, size):
    """torch's own trilinear enlarging is the reference; outside of the volume there is zero."""
    features = torch.randn(2, *coarse)
    enlarged = F.interpolate(features[None], SHAPE, mode="trilinear", align_corners=False)[0]
    padded = F.pad(enlarged, (3, 20, 3, 20, 3, 20))
    z, y, x = (first + 3 for first in start)
    wanted = padded[:, z : z + size[0], y : y + size[1], x : x + size[2]]
    assert torch.allclose(features_of_box([features], SHAPE, start, size), wanted, atol=1e-5)


def test_several_feature_maps_are_put_one_behind_the_other():
    one, two = torch.randn(2, 4, 5, 3), torch.randn(3, 12, 2, 2).half()
    both = features_of_box([one, two], SHAPE, (0, 0, 0), SHAPE)
    assert both.shape == (5, *SHAPE)
    assert both.dtype == torch.float32
    assert torch.equal(both[:2], features_of_box([one], SHAPE, (0, 0, 0), SHAPE))


def test_features_outside_of_the_volume_are_zero():
    features = torch.ones(1, 3, 3, 3)
    grid = upright_grid((-2, 0, 0), (5, *SHAPE[1:]))
    read = read_features(features, SHAPE, grid)[0]
    assert (read[:2] == 0).all()
    assert torch.allclose(read[2:], torch.ones(()))


def test_interpolation_weights_sum_to_one():
    at = torch.linspace(-2, 9, 50)
    assert torch.allclose(linear_matrix(at, 7).sum(dim=1), torch.ones(50))
    assert torch.allclose(linear_matrix(at, 1).sum(dim=1), torch.ones(50))
    inside = torch.linspace(0, 4, 33)
    splines = bspline_matrix(inside, 4)
    assert splines.shape == (33, 7)
    assert torch.allclose(splines.sum(dim=1), torch.ones(33), atol=1e-6)
    assert (splines >= 0).all()


def test_splines_reproduce_straight_lines():
    at = torch.linspace(0, 4, 33)
    control = torch.arange(-1.0, 6.0)
    assert torch.allclose(bspline_matrix(at, 4) @ control, at, atol=1e-5)


def test_separable_equals_einsum():
    values, matrices = torch.randn(2, 3, 4, 5), [torch.randn(6, 3), torch.randn(7, 4), torch.randn(8, 5)]
    wanted = torch.einsum("cdhw,Dd,Hh,Ww->cDHW", values, *matrices)
    assert torch.allclose(separable(values, *matrices), wanted, atol=1e-4)


def test_the_identity_warp_is_the_patch_itself():
    grid = sampling_grid(Warp(torch.eye(3), None), (3, 4, 5), (6.0, 6.5, 4.0), (5.0, 1.0, 1.0))
    assert torch.allclose(grid, upright_grid((5, 5, 2), (3, 4, 5)))


def test_a_rotation_keeps_distances_in_millimetres():
    spacing = (2.5, 1.0, 0.5)
    settings = WarpSettings(rotation_probability=1, scale_probability=0, elastic_probability=0)
    warp = draw_warp(np.random.default_rng(3), settings, spacing)
    assert warp is not None
    grid = sampling_grid(warp, (4, 4, 4), (0.0, 0.0, 0.0), spacing) * torch.tensor(spacing)
    for axis, wanted in enumerate(spacing):
        assert torch.allclose(grid.diff(dim=axis).norm(dim=-1), torch.tensor(wanted), atol=1e-4)


def test_thick_slices_are_only_turned_within_themselves():
    settings = WarpSettings(rotation_probability=1, scale_probability=1, elastic_probability=1)
    for seed in range(5):
        warp = draw_warp(np.random.default_rng(seed), settings, (5.0, 1.0, 1.0))
        assert warp is not None
        grid = sampling_grid(warp, (4, 6, 6), (2.5, 5.0, 5.0), (5.0, 1.0, 1.0))
        assert torch.allclose(grid[..., 0], (torch.arange(4.0) + 1).view(4, 1, 1).expand(4, 6, 6), atol=1e-5)


def test_elastic_deformation_does_not_fold():
    settings = WarpSettings(rotation_probability=0, scale_probability=0, elastic_probability=1, elastic=0.4)
    for seed in range(5):
        warp = draw_warp(np.random.default_rng(seed), settings, (1.0, 1.0, 1.0))
        assert warp is not None
        grid = sampling_grid(warp, (16, 16, 16), (8.0, 8.0, 8.0), (1.0, 1.0, 1.0))
        steps = torch.stack([grid.diff(dim=axis)[:15, :15, :15] for axis in range(3)], dim=-1)
        assert (torch.linalg.det(steps) > 0).all()


def test_no_chance_no_warp():
    settings = WarpSettings(rotation_probability=0, scale_probability=0, elastic_probability=0)
    assert draw_warp(np.random.default_rng(0), settings, (1.0, 1.0, 1.0)) is None
