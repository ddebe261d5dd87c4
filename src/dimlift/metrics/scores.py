"""Predictions of test cases turned into the scores a record holds."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from dimlift.errors import ShapeError
from dimlift.metrics.classification import auroc, macro_f1
from dimlift.metrics.lesions import count_lesions
from dimlift.metrics.segmentation import dice, hd95_mm, nsd
from dimlift.records.record import Score

BACKGROUND = 0
"""Label value that is not scored: it is what is left when everything else is named."""

ONE_EMPTY = "one_mask_empty"
"""1 where a class is in only one of truth and prediction, so that the worst value was given; tables count these."""


def score_segmentation(
    case: str,
    prediction: Int[np.ndarray, "*grid"],
    truth: Int[np.ndarray, "*grid"],
    labels: Mapping[str, int],
    spacing: Sequence[float],
    ignore: int | None = None,
    tolerance_mm: float = 1.0,
) -> list[Score]:
    """Dice, HD95, NSD, lesion-wise sensitivity and false positives of every label but the background.

    Args:
        labels: value of each label by its name.
        spacing: voxel size in mm, in the order of the axes.
        ignore: value in `truth` of voxels nobody annotated; they belong to no mask, in truth and prediction alike.
        tolerance_mm: see `nsd`.

    Raises:
        ShapeError: if prediction and truth have different shapes; the message names the case.
    """
    if prediction.shape != truth.shape:
        raise ShapeError(
            f"case {case}: prediction {prediction.shape} and truth {truth.shape} are not on one grid; "
            "bring the prediction back to the image's geometry first"
        )
    annotated = np.ones(truth.shape, bool) if ignore is None else truth != ignore
    scores = []
    for name, value in labels.items():
        if value in (BACKGROUND, ignore):
            continue
        predicted, true = (prediction == value) & annotated, truth == value
        lesions = count_lesions(predicted, true)
        scores += [
            Score(case, name, "dice", dice(predicted, true)),
            Score(case, name, "hd95_mm", hd95_mm(predicted, true, spacing)),
            Score(case, name, "nsd", nsd(predicted, true, spacing, tolerance_mm)),
            Score(case, name, "lesion_sensitivity", lesions.sensitivity),
            Score(case, name, "false_lesions", float(lesions.false)),
            Score(case, name, ONE_EMPTY, float(predicted.any() != true.any())),
        ]
    return scores


def score_classification(
    cases: Sequence[str],
    probabilities: Float[np.ndarray, "cases classes"],
    truth: Int[np.ndarray, " cases"],
    labels: Mapping[str, int],
) -> list[Score]:
    """Whether each case is right ("accuracy", 0 or 1, which pairs case by case), macro F1 and AUROC over all of them.

    Args:
        probabilities: one column per entry of `labels`, in its order.
        truth: value of the true label of each case.

    Raises:
        ShapeError: if there is not one row per case and one column per label.
    """
    values = np.array(list(labels.values()))
    if probabilities.shape != (len(cases), len(values)) or len(truth) != len(cases):
        raise ShapeError(
            f"probabilities {probabilities.shape} and {len(truth)} true labels must fit "
            f"{len(cases)} cases and {len(values)} labels"
        )
    predicted = values[probabilities.argmax(axis=1)] if len(cases) else np.array([], int)
    right = predicted == truth
    return [
        *(Score(case, "all", "accuracy", float(hit)) for case, hit in zip(cases, right, strict=True)),
        Score("all", "all", "macro_f1", macro_f1(predicted, truth)),
        Score("all", "all", "auroc", auroc(probabilities, truth, values.tolist())),
    ]
