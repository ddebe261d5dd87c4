"""The same numbers as MONAI and DeepMind's surface-distance wherever the definitions coincide, and where they do not.

surface-distance puts the surface on the corners of voxels and weighs its points by area; here it lies on voxel centres
and every voxel counts the same. They coincide for Dice on any masks, for every distance between a shape and its own
translation, and for the Hausdorff distance up to the diagonal of a voxel.
"""

import numpy as np
import pytest
import surface_distance
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice

from dimlift.metrics.segmentation import dice, hd95_mm, nsd
from dimlift.metrics.surface import surface_distances

SPACING = (2.5, 0.8, 1.0)
masks = arrays(bool, (5, 6, 7))
moves = st.tuples(st.integers(0, 2), st.integers(1, 4))


def theirs(prediction, truth):
    return surface_distance.compute_surface_distances(truth, prediction, SPACING)


@settings(max_examples=60, deadline=None)
@given(masks, masks)
def test_dice_is_that_of_both(prediction, truth):
    if not prediction.any() or not truth.any():
        return
    assert dice(prediction, truth) == pytest.approx(surface_distance.compute_dice_coefficient(truth, prediction))
    pair = [torch.from_numpy(mask)[None, None] for mask in (prediction, truth)]
    assert dice(prediction, truth) == pytest.approx(compute_dice(*pair).item(), rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(masks, masks, st.sampled_from([0.5, 0.9, 1.77, 3.33]))
def test_distances_and_surface_dice_are_those_of_monai(prediction, truth, tolerance):
    """MONAI's surface ends at the edge of the volume only with a margin around it."""
    if not prediction.any() or not truth.any():
        return
    padded = [np.pad(mask, 1) for mask in (prediction, truth)]
    pair = [torch.from_numpy(mask)[None, None] for mask in padded]
    hausdorff = compute_hausdorff_distance(*pair, include_background=True, percentile=95, spacing=SPACING)
    assert hd95_mm(prediction, truth, SPACING) == pytest.approx(hausdorff.item(), abs=1e-4)  # a quantile in float32
    agreement = compute_surface_dice(*pair, [tolerance], include_background=True, spacing=SPACING)
    assert nsd(prediction, truth, SPACING, tolerance) == pytest.approx(agreement.item(), rel=1e-5)


@settings(max_examples=60, deadline=None)
@given(masks, masks)
def test_hausdorff_distance_is_deepminds_up_to_the_diagonal_of_a_voxel(prediction, truth):
    if not prediction.any() or not truth.any():
        return
    ours = max(part.max() for part in surface_distances(prediction, truth, SPACING))
    other = surface_distance.compute_robust_hausdorff(theirs(prediction, truth), 100)
    assert abs(ours - other) <= np.linalg.norm(SPACING) + 1e-9


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.integers(1, 3)] * 3), moves)
def test_a_plate_and_its_translation_are_as_far_apart_as_deepmind_says(size, move):
    axis, steps = move
    size = tuple(1 if a == axis else n for a, n in enumerate(size))  # every voxel of it is moved off it
    truth, moved = np.zeros((9, 9, 9), bool), np.zeros((9, 9, 9), bool)
    truth[tuple(slice(1, 1 + n) for n in size)] = True
    moved[tuple(slice(1 + steps * (a == axis), 1 + n + steps * (a == axis)) for a, n in enumerate(size))] = True
    found = theirs(moved, truth)
    away = steps * SPACING[axis]
    assert hd95_mm(moved, truth, SPACING) == pytest.approx(away)
    assert surface_distance.compute_robust_hausdorff(found, 95) == pytest.approx(away)
    assert nsd(moved, truth, SPACING, away + 1e-6) == 1
    assert surface_distance.compute_surface_dice_at_tolerance(found, away + 1e-6) == pytest.approx(1)


def test_where_the_empty_rules_part():
    """An organ that was missed whole: MONAI leaves its distance out (NaN), here it is the worst there is."""
    empty, some = np.zeros((4, 4, 4), bool), np.zeros((4, 4, 4), bool)
    some[1:3] = True
    missed = [torch.from_numpy(mask)[None, None] for mask in (empty, some)]
    invented = [torch.from_numpy(mask)[None, None] for mask in (some, empty)]
    assert compute_dice(*missed, ignore_empty=True).item() == dice(empty, some) == 0
    assert torch.isnan(compute_dice(*invented, ignore_empty=True)).item()
    assert dice(some, empty) == 0
    hausdorff = compute_hausdorff_distance(*missed, include_background=True, percentile=95).item()
    assert not np.isfinite(hausdorff)
    assert hd95_mm(empty, some, (1, 1, 1)) == pytest.approx(np.sqrt(48))
