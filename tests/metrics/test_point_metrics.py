"""Metrics of point clouds: definitions, agreement with scikit-learn, point clouds that lack a class."""

import numpy as np
import pytest
from sklearn.metrics import jaccard_score

from dimlift.errors import ShapeError
from dimlift.metrics.points import class_iou, confusion_matrix, score_points


def test_class_iou_matches_sklearn_jaccard():
    truth, predicted = np.random.default_rng(0).integers(0, 4, (2, 300))
    expected = jaccard_score(truth, predicted, average=None)
    assert class_iou(confusion_matrix(predicted, truth, 4)) == pytest.approx(expected.tolist())


def test_score_points_pools_mean_iou():
    first = confusion_matrix(np.array([0, 0, 1, 1]), np.array([0, 1, 1, -1]), 3)  # the last point is unlabelled
    second = confusion_matrix(np.array([0] * 6), np.array([0] * 6), 3)
    found = {
        (s.case, s.class_, s.metric): s.value for s in score_points(["a", "b"], [first, second], dict(x=0, y=1, z=2))
    }
    assert found["a", "x", "iou"] == 1 / 2
    assert found["a", "y", "iou"] == 1 / 2
    assert found["a", "z", "iou"] is None
    assert found["b", "x", "iou"] == 1
    assert found["b", "y", "iou"] is None
    assert found["a", "all", "point_accuracy"] == pytest.approx(2 / 3)
    assert found["all", "all", "mean_iou"] == pytest.approx((7 / 8 + 1 / 2) / 2)


def test_score_points_counts_one_sided_classes():
    scores = score_points(["a"], [confusion_matrix(np.array([0, 0]), np.array([0, 1]), 2)], {"x": 0, "y": 1})
    found = {(s.class_, s.metric): s.value for s in scores}
    assert found["y", "iou"] == 0
    assert found["y", "one_mask_empty"] == 1
    assert found["x", "one_mask_empty"] == 0


def test_confusion_matrix_rejects_different_lengths():
    with pytest.raises(ShapeError, match="one each"):
        confusion_matrix(np.zeros(3, int), np.zeros(4, int), 2)
