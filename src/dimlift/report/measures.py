"""The measures a study may be judged by: how they are called, and which way is better."""

from collections.abc import Iterable
from dataclasses import dataclass

from dimlift.records.record import Record


@dataclass(frozen=True)
class Measure:
    """How to speak about a metric.

    Attributes:
        name: as in the records.
        title: as in sentences and tables.
        better: 1 if more is better, -1 if less is.
        digits: decimals worth showing.
        point: a difference worth seeing, for which the size of a study is reckoned; None where there is no usual one.
        paired: whether the records hold one value per case, so that arms can be paired by case.
    """

    name: str
    title: str
    better: int = 1
    digits: int = 3
    paired: bool = True
    point: float | None = None


MEASURES = {
    measure.name: measure
    for measure in (
        Measure("dice", "Dice", point=0.01),
        Measure("iou", "IoU", point=0.01),
        Measure("accuracy", "accuracy", point=0.05),
        Measure("absolute_error", "absolute error", better=-1),
        Measure("hd95_mm", "HD95 (mm)", better=-1, digits=2),
        Measure("nsd", "NSD"),
        Measure("lesion_sensitivity", "lesions found"),
        Measure("false_lesions", "false lesions", better=-1, digits=2),
        Measure("points_right", "points right"),
        Measure("mean_iou", "mean IoU", paired=False),
        Measure("macro_f1", "macro F1", paired=False),
        Measure("auroc", "AUROC", paired=False),
    )
}
"""In the order in which a study is judged: the first one its records hold is the one the verdict is about."""


def primary_measure(records: Iterable[Record]) -> Measure:
    """The measure of the verdict: the first of `MEASURES` with a score in the records; Dice if there is none yet."""
    found = {score.metric for record in records for score in record.scores}
    return next((measure for name, measure in MEASURES.items() if name in found), MEASURES["dice"])
