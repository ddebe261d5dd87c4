"""How well points were told apart: everything follows from which class was taken for which, cloud by cloud."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from dimlift.errors import ShapeError
from dimlift.metrics.scores import ONE_EMPTY
from dimlift.records.record import Score

Confusion = Int[np.ndarray, "classes classes"]


def confusion(predicted: Int[np.ndarray, " points"], truth: Int[np.ndarray, " points"], classes: int) -> Confusion:
    """Number of points of every true class (row) that were taken for every class (column).

    Args:
        truth: class indices; points below zero are not counted, nobody knows what they are.

    Raises:
        ShapeError: if there is not one answer for every point.
    """
    if predicted.shape != truth.shape:
        raise ShapeError(f"{predicted.shape} predictions for {truth.shape} labelled points; give one for each")
    known = truth >= 0
    return np.bincount(truth[known] * classes + predicted[known], minlength=classes**2).reshape(classes, classes)


def intersection_over_union(counts: Confusion) -> list[float | None]:
    """Of every class; None where it is neither in the truth nor in the prediction."""
    both = np.diag(counts)
    either = counts.sum(0) + counts.sum(1) - both
    return [float(hit / all_) if all_ else None for hit, all_ in zip(both, either, strict=True)]


def score_points(cases: Sequence[str], counts: Sequence[Confusion], labels: Mapping[str, int]) -> list[Score]:
    """IoU of every class and the share of points that are right, cloud by cloud; mean IoU over all points together.

    The mean IoU of benchmarks adds points of all clouds up before it divides; the IoU of one cloud pairs case by case.
    """
    scores: list[Score] = []
    for case, found in zip(cases, counts, strict=True):
        true, taken = found.sum(1) > 0, found.sum(0) > 0
        for index, (name, value) in enumerate(zip(labels, intersection_over_union(found), strict=True)):
            scores.append(Score(case, name, "iou", value))
            scores.append(Score(case, name, ONE_EMPTY, float(true[index] != taken[index])))
        total = int(found.sum())
        scores.append(Score(case, "all", "points_right", float(np.trace(found) / total) if total else None))
    if len(counts):
        pooled = [value for value in intersection_over_union(np.sum(counts, axis=0)) if value is not None]
        scores.append(Score("all", "all", "mean_iou", float(np.mean(pooled)) if pooled else None))
    return scores
