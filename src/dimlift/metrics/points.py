"""Metrics of point cloud segmentation, computed from confusion matrices."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from dimlift.errors import ShapeError
from dimlift.metrics.scores import ONE_EMPTY
from dimlift.records.record import Score

Confusion = Int[np.ndarray, "classes classes"]


def confusion_matrix(
    predicted: Int[np.ndarray, " points"], truth: Int[np.ndarray, " points"], num_classes: int
) -> Confusion:
    """Return the number of points of every true class (row) with every predicted class (column).

    Args:
        predicted: class indices.
        truth: class indices; points with negative ones are not counted.
        num_classes: number of classes.

    Raises:
        ShapeError: if the arrays have different lengths.
    """
    if predicted.shape != truth.shape:
        raise ShapeError(f"{predicted.shape} predictions for {truth.shape} labelled points; one each is expected")
    known = truth >= 0
    pairs = truth[known] * num_classes + predicted[known]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_iou(confusion: Confusion) -> list[float | None]:
    """Return intersection over union of every class; None if it is neither in the truth nor in the prediction."""
    intersection = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - intersection
    return [float(both / either) if either else None for both, either in zip(intersection, union, strict=True)]


def mean_iou(confusion: Confusion) -> float | None:
    """Return the mean of the defined `class_iou`; None if there are none."""
    defined = [value for value in class_iou(confusion) if value is not None]
    return float(np.mean(defined)) if defined else None


def score_points(cases: Sequence[str], confusions: Sequence[Confusion], labels: Mapping[str, int]) -> list[Score]:
    """Return IoU of every class and accuracy per point cloud, and the mean IoU over the points of all of them.

    Benchmarks compute the mean IoU over all points; the IoU per point cloud allows paired comparisons.
    """
    scores: list[Score] = []
    for case, confusion in zip(cases, confusions, strict=True):
        true, predicted = confusion.sum(1) > 0, confusion.sum(0) > 0
        for index, (name, value) in enumerate(zip(labels, class_iou(confusion), strict=True)):
            scores.append(Score(case, name, "iou", value))
            scores.append(Score(case, name, ONE_EMPTY, float(true[index] != predicted[index])))
        total = int(confusion.sum())
        scores.append(Score(case, "all", "point_accuracy", float(np.trace(confusion) / total) if total else None))
    if len(confusions):
        scores.append(Score("all", "all", "mean_iou", mean_iou(np.sum(confusions, axis=0))))
    return scores
