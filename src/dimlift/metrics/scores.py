"""Scores of test cases as stored in run records."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from dimlift.errors import ShapeError
from dimlift.metrics.classification import auroc, macro_f1
from dimlift.metrics.lesions import count_lesions
from dimlift.metrics.segmentation import dice, hd95_mm, nsd
from dimlift.records.record import Score

BACKGROUND = 0
"""Label value that is not scored."""

ONE_EMPTY = "one_mask_empty"
"""Metric that is 1 if a class is in only one of truth and prediction and has the worst value; tables count these."""


def score_segmentation(
    case: str,
    prediction: Int[np.ndarray, "*grid"],
    truth: Int[np.ndarray, "*grid"],
    labels: Mapping[str, int],
    spacing: Sequence[float],
    ignore: int | None = None,
    tolerance_mm: float = 1.0,
) -> list[Score]:
    """Return Dice, HD95, NSD, lesion sensitivity and false positive lesions of every label but the background.

    Args:
        case: name of the case.
        prediction: predicted label map.
        truth: true label map.
        labels: name to value.
        spacing: voxel size in mm, one number per axis.
        ignore: value in `truth` of voxels without annotation, which are excluded from all masks.
        tolerance_mm: see `nsd`.

    Raises:
        ShapeError: if prediction and truth have different shapes.
    """
    if prediction.shape != truth.shape:
        raise ShapeError(
            f"case {case}: prediction {prediction.shape} and truth {truth.shape} are not on one grid; "
            "restore the prediction to the geometry of the image first"
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
    """Return accuracy (0 or 1) per case for paired comparisons, and macro F1 and AUROC over all cases.

    Args:
        cases: names of the cases.
        probabilities: one column per entry of `labels`, in its order.
        truth: value of the true label of each case.
        labels: name to value.

    Raises:
        ShapeError: unless there is one row per case and one column per label.
    """
    values = np.array(list(labels.values()))
    if probabilities.shape != (len(cases), len(values)) or len(truth) != len(cases):
        raise ShapeError(
            f"probabilities {probabilities.shape} and {len(truth)} true labels do not match "
            f"{len(cases)} cases and {len(values)} labels"
        )
    predicted = values[probabilities.argmax(axis=1)] if len(cases) else np.array([], int)
    correct = predicted == truth
    return [
        *(Score(case, "all", "accuracy", float(hit)) for case, hit in zip(cases, correct, strict=True)),
        Score("all", "all", "macro_f1", macro_f1(predicted, truth)),
        Score("all", "all", "auroc", auroc(probabilities, truth, values.tolist())),
    ]
