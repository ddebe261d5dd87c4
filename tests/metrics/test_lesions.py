"""Lesion-wise counting: pieces, matching, symmetry, and agreement with a direct implementation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dimlift.errors import ShapeError
from dimlift.metrics.lesions import count_lesions
from dimlift.metrics.scores import score_segmentation

masks = arrays(bool, (4, 5, 6))


def blocks(*corners, size=2, shape=(12, 12, 12)):
    mask = np.zeros(shape, bool)
    for corner in corners:
        mask[tuple(slice(start, start + size) for start in corner)] = True
    return mask


def test_count_lesions_counts_found_and_false():
    truth = blocks((0, 0, 0), (4, 4, 4), (8, 8, 8))
    prediction = blocks((1, 1, 1), (8, 8, 8), (0, 8, 0), (8, 0, 0))
    assert count_lesions(prediction, truth) == (3, 2, 4, 2)
    assert count_lesions(prediction, truth).sensitivity == pytest.approx(2 / 3)


def test_count_lesions_connects_corners():
    mask = np.zeros((3, 3, 3), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[2, 2, 2] = True
    assert count_lesions(mask, mask) == (1, 1, 1, 0)


def test_count_lesions_merges_pieces():
    truth, pieces = np.zeros((1, 1, 9), bool), np.zeros((1, 1, 9), bool)
    truth[..., :] = True
    pieces[..., :4] = pieces[..., 5:] = True
    assert count_lesions(pieces, truth) == (1, 1, 2, 0)
    assert count_lesions(pieces, truth, overlap=0.8).found == 1  # 8 of 9 voxels, both pieces together
    assert count_lesions(pieces, truth, overlap=0.9).found == 0
    assert count_lesions(pieces, truth, overlap=0.5).false == 2  # each piece alone covers 4 of 9


@settings(max_examples=30, deadline=None)
@given(masks, masks, st.floats(0, 0.9))
def test_count_lesions_is_symmetric(one, other, overlap):
    there, back = count_lesions(one, other, overlap), count_lesions(other, one, overlap)
    assert (there.true, there.found) == (back.predicted, back.predicted - back.false)
    assert 0 <= there.found <= there.true
    perfect = count_lesions(one, one, overlap)
    assert perfect.found == perfect.true == perfect.predicted
    assert perfect.false == 0


@settings(max_examples=30, deadline=None)
@given(masks, masks)
def test_count_lesions_matches_per_component_check(one, other):
    label = pytest.importorskip("skimage.measure").label
    true, predicted = label(other, connectivity=3), label(one, connectivity=3)
    counts = count_lesions(one, other)
    assert counts.true == true.max()
    assert counts.found == sum(one[true == n].any() for n in range(1, true.max() + 1))
    assert counts.false == sum(not other[predicted == n].any() for n in range(1, predicted.max() + 1))


def test_count_lesions_handles_empty_masks_and_rejects_wrong_input():
    empty, some = blocks(), blocks((0, 0, 0), (5, 5, 5))
    assert count_lesions(empty, empty) == (0, 0, 0, 0)
    assert count_lesions(some, empty).sensitivity is None
    assert count_lesions(some, empty).false == 2
    assert count_lesions(empty, some).sensitivity == 0
    with pytest.raises(ShapeError, match="geometry"):
        count_lesions(empty, empty[1:])
    with pytest.raises(ShapeError, match="overlap is 1"):
        count_lesions(empty, empty, overlap=1)


def test_score_segmentation_includes_lesions_and_empty_masks():
    truth = np.where(blocks((0, 0, 0), (5, 5, 5)), 1, 0)
    prediction = np.where(blocks((0, 0, 0), (9, 9, 9)), 1, 0) + np.where(blocks((9, 0, 0)), 2, 0)
    labels = {"lesion": 1, "other": 2, "never": 3}
    scores = {
        (s.class_, s.metric): s.value for s in score_segmentation("a", prediction, truth, labels, (1.0, 1.0, 1.0))
    }
    assert (scores["lesion", "lesion_sensitivity"], scores["lesion", "false_lesions"]) == (0.5, 1)
    assert (scores["other", "lesion_sensitivity"], scores["other", "false_lesions"]) == (None, 1)
    assert [scores[name, "one_mask_empty"] for name in labels] == [0, 1, 0]
