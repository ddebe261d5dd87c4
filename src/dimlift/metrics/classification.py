"""How well predicted classes and their probabilities fit the true ones, over a whole test set."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from dimlift.errors import ShapeError


def macro_f1(predicted: Int[np.ndarray, " cases"], truth: Int[np.ndarray, " cases"]) -> float | None:
    """Mean over classes of F1, every class counting the same.

    A class that occurs in neither array is left out (undefined); one that occurs in only one of them scores 0.

    Returns:
        None if there are no cases.

    Raises:
        ShapeError: if the arrays have different lengths.
    """
    if predicted.shape != truth.shape:
        raise ShapeError(f"{predicted.shape} predictions for {truth.shape} true classes; give one for each case")
    if not len(truth):
        return None
    from sklearn.metrics import f1_score  # takes a second to import; segmentation studies never need it

    return float(f1_score(truth, predicted, average="macro", zero_division=0))


def auroc(
    probabilities: Float[np.ndarray, "cases classes"],
    truth: Int[np.ndarray, " cases"],
    classes: Sequence[int] | None = None,
) -> float | None:
    """Area under the receiver operating characteristic: of one class for two classes, the mean over classes for more.

    With more than two classes each is set against all others. A class that has no case, or has every case, has no
    curve and is left out.

    Args:
        probabilities: one column per class; columns need not sum to one, only their order within a column matters.
        classes: the class each column stands for; 0, 1, 2, ... if not given.

    Returns:
        None if no class has a curve.

    Raises:
        ShapeError: if there is not one row per case and one column per class.
    """
    classes = list(range(probabilities.shape[-1])) if classes is None else list(classes)
    if probabilities.shape != (len(truth), len(classes)):
        raise ShapeError(
            f"probabilities {probabilities.shape} must have a row for each of {len(truth)} cases "
            f"and a column for each of {len(classes)} classes"
        )
    from sklearn.metrics import roc_auc_score  # takes a second to import; segmentation studies never need it

    if len(classes) == 2:  # both columns tell the same story; the second is the one people call positive
        probabilities, classes = probabilities[:, 1:], classes[1:]
    areas = [
        roc_auc_score(truth == value, probabilities[:, column])
        for column, value in enumerate(classes)
        if 0 < np.count_nonzero(truth == value) < len(truth)
    ]
    return float(np.mean(areas)) if areas else None
