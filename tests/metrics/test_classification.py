"""Classification metrics."""

import numpy as np
import pytest
from sklearn import metrics as reference

from dimlift.errors import ShapeError
from dimlift.metrics.classification import auroc, balanced_accuracy, macro_f1
from dimlift.metrics.points import confusion_matrix


def test_macro_f1_matches_manual_value():
    truth, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    assert macro_f1(predicted, truth) == pytest.approx((0.8 + 2 / 3) / 2)


def test_macro_f1_weights_classes_equally():
    truth = np.array([0] * 98 + [2] * 2)
    assert macro_f1(np.zeros(100, int), truth) == pytest.approx((2 * 98 / (98 + 100)) / 2)
    assert macro_f1(truth, truth) == 1
    assert macro_f1(np.array([], int), np.array([], int)) is None


def test_auroc_is_fraction_of_ordered_pairs():
    truth = np.array([0, 0, 1, 1])
    positive = np.array([0.1, 0.4, 0.35, 0.8])
    assert auroc(np.stack([1 - positive, positive], 1), truth) == 0.75  # 3 of 4 pairs
    assert auroc(np.stack([-(positive**3), positive**3], 1), truth) == 0.75  # only order matters
    assert auroc(np.stack([np.zeros(4), positive], 1), truth) == 0.75  # the second of two columns decides


@pytest.mark.parametrize("decimals", [1, 8])
def test_auroc_equals_the_area_under_the_roc_curve(decimals):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 60)
    scores = rng.random((60, 3)).round(decimals)  # one decimal gives many ties
    expected = [reference.roc_auc_score(truth == k, scores[:, k]) for k in range(3)]
    assert auroc(scores, truth) == pytest.approx(np.mean(expected), abs=1e-12)


def test_auroc_averages_defined_classes():
    truth = np.array([0, 0, 1, 1])
    scores = np.array([[0.9, 0.1, 0.3], [0.8, 0.2, 0.1], [0.2, 0.7, 0.5], [0.3, 0.15, 0.5]])
    assert auroc(scores, truth) == pytest.approx((1 + 0.75) / 2)  # class 2 has no case
    assert auroc(scores[:2], truth[:2]) is None


def test_auroc_maps_columns_to_classes():
    truth = np.array([3, 7, 7])
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    assert auroc(scores, truth, [3, 7]) == 1
    assert auroc(scores, truth, [7, 3]) == 0


def test_classification_metrics_reject_wrong_shapes():
    with pytest.raises(ShapeError, match="one per case"):
        macro_f1(np.zeros(3, int), np.zeros(4, int))
    with pytest.raises(ShapeError, match="a row for each of 4 cases"):
        auroc(np.zeros((3, 2)), np.zeros(4, int))


def test_balanced_accuracy_and_confusion_matrix_equal_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    truth, predicted = rng.integers(0, 4, (2, 50))
    truth[truth == 2] = 1  # a class that is predicted and never true
    np.testing.assert_array_equal(confusion_matrix(predicted, truth, 4), reference.confusion_matrix(truth, predicted))
    recalls = reference.recall_score(truth, predicted, average=None, labels=[0, 1, 3])
    assert balanced_accuracy(predicted, truth) == pytest.approx(recalls.mean())
