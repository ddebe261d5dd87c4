"""Agreement with MONAI and DeepMind's surface-distance where the definitions coincide.

surface-distance has the surface on voxel corners and weights its points by area; here it is on voxel centres with equal
weights. They coincide for Dice, for distances between a shape and its translation, and for the Hausdorff distance up to
the diagonal of a voxel.
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


def reference_distances(prediction, truth):
    return surface_distance.compute_surface_distances(truth, prediction, SPACING)


@settings(max_examples=60, deadline=None)
@given(masks, masks)
def test_dice_matches_monai_and_deepmind(prediction, truth):
    if not prediction.any() or not truth.any():
        return
    assert dice(prediction, truth) == pytest.approx(surface_distance.compute_dice_coefficient(truth, prediction))
    pair = [torch.from_numpy(mask)[None, None] for mask in (prediction, truth)]
    assert dice(prediction, truth) == pytest.approx(compute_dice(*pair).item(), rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(masks, masks, st.sampled_from([0.5, 0.9, 1.77, 3.33]))
def test_surface_metrics_match_monai_on_random_masks(prediction, truth, tolerance):
    """MONAI includes the edge of the volume in the surface only with a margin around it."""
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
def test_hausdorff_matches_deepmind_up_to_voxel_diagonal(prediction, truth):
    if not prediction.any() or not truth.any():
        return
    ours = max(part.max() for part in surface_distances(prediction, truth, SPACING))
    other = surface_distance.compute_robust_hausdorff(reference_distances(prediction, truth), 100)
    assert abs(ours - other) <= np.linalg.norm(SPACING) + 1e-9


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.integers(1, 3)] * 3), moves)
def test_translated_plate_matches_deepmind(size, move):
    axis, steps = move
    size = tuple(1 if a == axis else n for a, n in enumerate(size))  # every voxel is moved out of the plate
    truth, moved = np.zeros((9, 9, 9), bool), np.zeros((9, 9, 9), bool)
    truth[tuple(slice(1, 1 + n) for n in size)] = True
    moved[tuple(slice(1 + steps * (a == axis), 1 + n + steps * (a == axis)) for a, n in enumerate(size))] = True
    found = reference_distances(moved, truth)
    away = steps * SPACING[axis]
    assert hd95_mm(moved, truth, SPACING) == pytest.approx(away)
    assert surface_distance.compute_robust_hausdorff(found, 95) == pytest.approx(away)
    assert nsd(moved, truth, SPACING, away + 1e-6) == 1
    assert surface_distance.compute_surface_dice_at_tolerance(found, away + 1e-6) == pytest.approx(1)


def test_empty_masks_differ_from_monai():
    """For an organ that is missed completely MONAI excludes the distance (NaN); here it is the worst value."""
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
