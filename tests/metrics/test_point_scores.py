"""Scores of points: each by its definition, another library's numbers, and clouds that lack a class."""

import numpy as np
import pytest
from sklearn.metrics import jaccard_score

from dimlift.errors import ShapeError
from dimlift.metrics.points import confusion, intersection_over_union, score_points


def test_it_is_the_jaccard_index_of_scikit_learn():
    truth, predicted = np.random.default_rng(0).integers(0, 4, (2, 300))
    expected = jaccard_score(truth, predicted, average=None)
    assert intersection_over_union(confusion(predicted, truth, 4)) == pytest.approx(expected.tolist())


def test_clouds_are_scored_alone_and_mean_iou_over_all_points_together():
    first = confusion(np.array([0, 0, 1, 1]), np.array([0, 1, 1, -1]), 3)  # the last point is nobody's
    second = confusion(np.array([0] * 6), np.array([0] * 6), 3)
    found = {
        (s.case, s.class_, s.metric): s.value for s in score_points(["a", "b"], [first, second], dict(x=0, y=1, z=2))
    }
    assert found["a", "x", "iou"] == 1 / 2
    assert found["a", "y", "iou"] == 1 / 2
    assert found["a", "z", "iou"] is None
    assert found["b", "x", "iou"] == 1
    assert found["b", "y", "iou"] is None
    assert found["a", "all", "points_right"] == pytest.approx(2 / 3)
    assert found["all", "all", "mean_iou"] == pytest.approx((7 / 8 + 1 / 2) / 2)


def test_a_class_that_only_one_side_has_is_worst_and_counted():
    scores = score_points(["a"], [confusion(np.array([0, 0]), np.array([0, 1]), 2)], {"x": 0, "y": 1})
    found = {(s.class_, s.metric): s.value for s in scores}
    assert found["y", "iou"] == 0
    assert found["y", "one_mask_empty"] == 1
    assert found["x", "one_mask_empty"] == 0


def test_every_point_needs_an_answer():
    with pytest.raises(ShapeError, match="one for each"):
        confusion(np.zeros(3, int), np.zeros(4, int), 2)
