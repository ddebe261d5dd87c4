"""Classification metrics over a test set."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from dimlift.errors import ShapeError


def macro_f1(predicted: Int[np.ndarray, " cases"], truth: Int[np.ndarray, " cases"]) -> float | None:
    """Return the unweighted mean of the F1 scores of the classes.

    A class that is in neither array is excluded; one that is in only one of them scores 0.

    Returns:
        None if there are no cases.

    Raises:
        ShapeError: if the arrays have different lengths.
    """
    if predicted.shape != truth.shape:
        raise ShapeError(f"{predicted.shape} predictions for {truth.shape} true classes; one per case is expected")
    if not len(truth):
        return None
    from sklearn.metrics import f1_score  # imports in a second; segmentation studies do not need it

    return float(f1_score(truth, predicted, average="macro", zero_division=0))


def auroc(
    probabilities: Float[np.ndarray, "cases classes"],
    truth: Int[np.ndarray, " cases"],
    classes: Sequence[int] | None = None,
) -> float | None:
    """Return the area under the ROC curve: of the second class for two classes, else the mean of one-vs-rest curves.

    A class without cases, or with all of them, is excluded.

    Args:
        probabilities: one column per class; only the order within a column matters.
        truth: true classes.
        classes: class of each column; 0, 1, 2, ... if None.

    Returns:
        None if no class has a curve.

    Raises:
        ShapeError: unless there is one row per case and one column per class.
    """
    classes = list(range(probabilities.shape[-1])) if classes is None else list(classes)
    if probabilities.shape != (len(truth), len(classes)):
        raise ShapeError(
            f"probabilities {probabilities.shape} must have a row for each of {len(truth)} cases "
            f"and a column for each of {len(classes)} classes"
        )
    if len(classes) == 2:  # both columns have the same curve; the second is the positive class
        probabilities, classes = probabilities[:, 1:], classes[1:]
    areas = [
        area_under_curve(probabilities[truth == value, column], probabilities[truth != value, column])
        for column, value in enumerate(classes)
        if 0 < np.count_nonzero(truth == value) < len(truth)
    ]
    return float(np.mean(areas)) if areas else None


def area_under_curve(positives: Float[np.ndarray, " positives"], negatives: Float[np.ndarray, " negatives"]) -> float:
    """Return the fraction of pairs in which the positive case has the higher score; ties count one half.

    It equals the area under the ROC curve (Mann and Whitney, 1947). Ranks are fast enough for a bootstrap.
    """
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, "left") + np.searchsorted(ordered, positives, "right")
    return float(below.sum() / (2 * len(positives) * len(negatives)))


def balanced_accuracy(predicted: Int[np.ndarray, " cases"], truth: Int[np.ndarray, " cases"]) -> float:
    """Return the mean over the true classes of the fraction of their cases that is predicted correctly."""
    correct = np.bincount(truth, predicted == truth)
    total = np.bincount(truth)
    return float((correct[total > 0] / total[total > 0]).mean())
