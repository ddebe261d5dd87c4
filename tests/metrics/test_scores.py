"""Scores of segmentation and classification."""

import numpy as np
import pytest

from dimlift.errors import ShapeError
from dimlift.metrics.scores import score_classification, score_segmentation

LABELS = {"background": 0, "liver": 1, "tumour": 2}


def by_name(scores):
    return {(s.case, s.class_, s.metric): s.value for s in scores}


def test_score_segmentation_excludes_background():
    truth = np.zeros((6, 6, 6), np.int16)
    truth[1:4, 1:4, 1:4] = 1
    scores = by_name(score_segmentation("a", truth.astype(np.uint8), truth, LABELS, (1, 1, 1)))
    assert {name for _, name, _ in scores} == {"liver", "tumour"}
    assert scores["a", "liver", "dice"] == 1
    assert scores["a", "liver", "hd95_mm"] == 0
    assert scores["a", "liver", "nsd"] == 1
    assert scores["a", "tumour", "dice"] is None


def test_score_segmentation_passes_tolerance():
    truth, moved = np.zeros((1, 9, 9), int), np.zeros((1, 9, 9), int)
    truth[:, 2:5, 2:5], moved[:, 4:7, 2:5] = 1, 1
    strict = by_name(score_segmentation("a", moved, truth, LABELS, (1, 1, 1), tolerance_mm=0.5))
    loose = by_name(score_segmentation("a", moved, truth, LABELS, (1, 1, 1), tolerance_mm=2.0))
    assert strict["a", "liver", "nsd"] < loose["a", "liver", "nsd"] == 1


def test_score_segmentation_ignores_unannotated_voxels():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, (5, 6, 7))
    truth[2:] = -1
    one, other = truth.copy(), truth.copy()
    one[2:], other[2:] = 1, rng.integers(0, 3, (3, 6, 7))
    args = (truth, {**LABELS, "ignore": -1}, (1, 1, 1), -1)
    assert score_segmentation("a", one, *args) == score_segmentation("a", other, *args)
    assert {s.class_ for s in score_segmentation("a", one, *args)} == {"liver", "tumour"}


def test_score_segmentation_rejects_other_grid():
    with pytest.raises(ShapeError, match="case s07: prediction"):
        score_segmentation("s07", np.zeros((2, 2, 2), int), np.zeros((2, 2, 3), int), LABELS, (1, 1, 1))


def test_score_classification_scores_each_case():
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]])
    scores = by_name(score_classification(["a", "b", "c"], probabilities, np.array([0, 1, 1]), {"well": 0, "ill": 1}))
    assert [scores[case, "all", "accuracy"] for case in "abc"] == [1, 1, 0]
    assert scores["all", "all", "auroc"] == 1
    assert scores["all", "all", "macro_f1"] == pytest.approx(2 / 3)
    with pytest.raises(ShapeError, match="2 cases and 2 labels"):
        score_classification(["a", "b"], probabilities, np.array([0, 1]), {"well": 0, "ill": 1})
