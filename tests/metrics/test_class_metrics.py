"""Laws of the classification metrics."""

import numpy as np
import pytest

from dimlift.errors import ShapeError
from dimlift.metrics.classification import auroc, macro_f1


def test_macro_f1_by_hand():
    truth, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    assert macro_f1(predicted, truth) == pytest.approx((0.8 + 2 / 3) / 2)


def test_macro_f1_ignores_how_common_a_class_is_and_leaves_absent_classes_out():
    truth = np.array([0] * 98 + [2] * 2)
    assert macro_f1(np.zeros(100, int), truth) == pytest.approx((2 * 98 / (98 + 100)) / 2)
    assert macro_f1(truth, truth) == 1
    assert macro_f1(np.array([], int), np.array([], int)) is None


def test_auroc_is_the_share_of_pairs_in_the_right_order():
    truth = np.array([0, 0, 1, 1])
    positive = np.array([0.1, 0.4, 0.35, 0.8])
    assert auroc(np.stack([1 - positive, positive], 1), truth) == 0.75  # 3 of 4 pairs
    assert auroc(np.stack([-(positive**3), positive**3], 1), truth) == 0.75  # only order matters
    assert auroc(np.stack([np.zeros(4), positive], 1), truth) == 0.75  # the second of two columns decides


def test_auroc_over_several_classes_is_the_mean_of_those_with_a_curve():
    truth = np.array([0, 0, 1, 1])
    scores = np.array([[0.9, 0.1, 0.3], [0.8, 0.2, 0.1], [0.2, 0.7, 0.5], [0.3, 0.15, 0.5]])
    assert auroc(scores, truth) == pytest.approx((1 + 0.75) / 2)  # class 2 has no case
    assert auroc(scores[:2], truth[:2]) is None


def test_columns_follow_their_class_values():
    truth = np.array([3, 7, 7])
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    assert auroc(scores, truth, [3, 7]) == 1
    assert auroc(scores, truth, [7, 3]) == 0


def test_wrong_input_names_what_was_found():
    with pytest.raises(ShapeError, match="one for each case"):
        macro_f1(np.zeros(3, int), np.zeros(4, int))
    with pytest.raises(ShapeError, match="a row for each of 4 cases"):
        auroc(np.zeros((3, 2)), np.zeros(4, int))
