"""Mask metrics: analytic shapes, symmetry, units, empty masks, and agreement with MONAI."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dimlift.errors import ShapeError
from dimlift.metrics.segmentation import dice, hd95_mm, nsd

SPACING = (2.5, 0.8, 1.0)
masks = arrays(bool, (4, 5, 6))


def cube(start, size=4, shape=(20, 20, 20)):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(s, s + size) for s in start)] = True
    return mask


def sphere(radius_mm, centre=(20, 20, 20), shape=(40, 40, 40), spacing=(1, 1, 1)):
    grid = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    return sum(((g - c) * s) ** 2 for g, c, s in zip(grid, centre, spacing, strict=True)) <= radius_mm**2


def test_mask_metrics_of_shifted_cubes():
    truth, shifted = cube((5, 5, 5)), cube((7, 5, 5))
    assert dice(shifted, truth) == 0.5  # 2 of 4 layers overlap
    assert hd95_mm(shifted, truth, (3, 1, 1)) == 6  # two voxels of 3 mm
    assert nsd(shifted, truth, (3, 1, 1), tolerance_mm=6) == 1


def test_mask_metrics_of_concentric_spheres():
    small, large = sphere(8.0), sphere(12.0)
    assert hd95_mm(small, large, (1, 1, 1)) == pytest.approx(4, abs=0.7)
    assert dice(small, large) == pytest.approx(2 * 8**3 / (8**3 + 12**3), abs=0.01)
    assert nsd(small, large, (1, 1, 1), tolerance_mm=3) == 0
    assert nsd(small, large, (1, 1, 1), tolerance_mm=5) == 1


def test_hd95_uses_anisotropic_spacing():
    spacing = (3.0, 1.0, 0.5)
    shape, centre = (20, 60, 120), (10, 30, 60)
    small, large = (sphere(radius, centre, shape, spacing) for radius in (12.0, 18.0))
    assert hd95_mm(small, large, spacing) == pytest.approx(6, abs=1.5)  # half a slice of 3 mm


def test_hd95_does_not_pool_directed_distances():
    """The prediction misses a part that is 10 % of the true surface, but 5 % of both surfaces together."""
    truth, prediction = np.zeros((1, 1, 200), bool), np.zeros((1, 1, 200), bool)
    truth[..., :90] = prediction[..., :100] = True
    truth[..., 190:200] = True
    assert hd95_mm(prediction, truth, (1, 1, 1)) > 90


def test_surface_includes_volume_edge():
    full, hollow = np.ones((9, 9, 9), bool), np.ones((9, 9, 9), bool)
    hollow[4, 4, 4] = False
    assert nsd(full, hollow, (1, 1, 1), tolerance_mm=0) > 0.9
    assert hd95_mm(full, full, (1, 1, 1)) == 0


@pytest.mark.parametrize("metric", [dice, lambda p, t: hd95_mm(p, t, SPACING), lambda p, t: nsd(p, t, SPACING)])
def test_mask_metrics_of_two_empty_masks_are_undefined(metric):
    empty = np.zeros((4, 5, 6), bool)
    assert metric(empty, empty) is None


@pytest.mark.parametrize("swap", [False, True])
def test_mask_metrics_of_one_empty_mask_are_worst(swap):
    pair = [np.zeros((4, 5, 6), bool), cube((1, 1, 1), 2, (4, 5, 6))]
    prediction, truth = pair[::-1] if swap else pair
    assert dice(prediction, truth) == 0
    assert nsd(prediction, truth, SPACING, tolerance_mm=1000) == 0
    worst = hd95_mm(prediction, truth, SPACING)
    assert worst == pytest.approx(np.sqrt((4 * 2.5) ** 2 + (5 * 0.8) ** 2 + (6 * 1.0) ** 2))


@settings(max_examples=40, deadline=None)
@given(masks, masks)
def test_mask_metrics_are_symmetric_and_bounded(one, other):
    for metric in (dice, lambda p, t: hd95_mm(p, t, SPACING), lambda p, t: nsd(p, t, SPACING)):
        assert metric(one, other) == metric(other, one)
    if one.any():
        assert (dice(one, one), hd95_mm(one, one, SPACING), nsd(one, one, SPACING)) == (1, 0, 1)
    if one.any() or other.any():
        assert 0 <= dice(one, other) <= 1
        assert 0 <= nsd(one, other, SPACING) <= 1
        assert 0 <= hd95_mm(one, other, SPACING) <= np.linalg.norm(np.multiply(one.shape, SPACING))


@settings(max_examples=20, deadline=None)
@given(masks, masks, st.floats(0.1, 10))
def test_surface_metrics_scale_with_spacing(one, other, scale):
    scaled = tuple(scale * s for s in SPACING)
    if one.any() or other.any():
        assert hd95_mm(one, other, scaled) == pytest.approx(scale * hd95_mm(one, other, SPACING))
        # a tolerance between two possible distances, so that rounding decides nothing
        assert nsd(one, other, scaled, scale * 1.77) == nsd(one, other, SPACING, 1.77)


@settings(max_examples=20, deadline=None)
@given(masks, masks)
def test_surface_metrics_are_transpose_invariant(one, other):
    transposed = (one.transpose(2, 0, 1), other.transpose(2, 0, 1))
    spacing = (SPACING[2], SPACING[0], SPACING[1])
    assert hd95_mm(*transposed, spacing) == hd95_mm(one, other, SPACING)
    assert nsd(*transposed, spacing) == nsd(one, other, SPACING)


@pytest.mark.parametrize("seed", range(4))
def test_surface_metrics_match_monai(seed):
    import torch
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    rng = np.random.default_rng(seed)
    pair = [sphere(9, rng.integers(12, 28, 3)) & (rng.random((40, 40, 40)) < 0.97) for _ in range(2)]
    prediction, truth = (torch.from_numpy(mask)[None, None] for mask in pair)
    reference = compute_hausdorff_distance(prediction, truth, include_background=True, percentile=95, spacing=SPACING)
    assert hd95_mm(*pair, SPACING) == pytest.approx(reference.item(), rel=1e-5)
    reference = compute_surface_dice(prediction, truth, [3.0], include_background=True, spacing=SPACING)
    assert nsd(*pair, SPACING, 3.0) == pytest.approx(reference.item(), rel=1e-5)


def test_mask_metrics_reject_wrong_input():
    with pytest.raises(ShapeError, match=r"\(4, 4, 4\).*\(5, 5, 5\).*geometry"):
        dice(np.zeros((4, 4, 4), bool), np.zeros((5, 5, 5), bool))
    with pytest.raises(ShapeError, match="boolean, got uint8"):
        dice(np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 4), bool))
    with pytest.raises(ShapeError, match="each of the 3 axes"):
        hd95_mm(np.zeros((4, 4, 4), bool), np.zeros((4, 4, 4), bool), (1.0, 1.0))
