"""Metrics a study can be judged by: titles, direction and precision."""

from collections.abc import Iterable
from dataclasses import dataclass

from dimlift.records.record import RunRecord


@dataclass(frozen=True)
class Measure:
    """How a metric is presented and interpreted.

    Attributes:
        name: name in the records.
        title: name in sentences and tables.
        better: 1 if higher values are better, -1 if lower values are.
        digits: number of decimals shown.
        relevant_difference: difference for which the required size of a study is computed; None if none is customary.
    """

    name: str
    title: str
    better: int = 1
    digits: int = 3
    relevant_difference: float | None = None


MEASURES = {
    measure.name: measure
    for measure in (
        Measure("dice", "Dice", relevant_difference=0.01),
        Measure("iou", "IoU", relevant_difference=0.01),
        Measure("accuracy", "accuracy", relevant_difference=0.05),
        Measure("absolute_error", "absolute error", better=-1),
        Measure("hd95_mm", "HD95 (mm)", better=-1, digits=2),
        Measure("nsd", "NSD"),
        Measure("lesion_sensitivity", "lesion sensitivity"),
        Measure("false_lesions", "false lesions", better=-1, digits=2),
        Measure("point_accuracy", "point accuracy"),
        Measure("mean_iou", "mean IoU"),
        Measure("macro_f1", "macro F1"),
        Measure("auroc", "AUROC"),
    )
}
"""In order of precedence: the first one that the records of a study contain determines the verdict."""


def primary_measure(records: Iterable[RunRecord]) -> Measure:
    """Return the measure of the verdict: the first of `MEASURES` with a score in the records, by default Dice."""
    found = {score.metric for record in records for score in record.scores}
    return next((measure for name, measure in MEASURES.items() if name in found), MEASURES["dice"])
