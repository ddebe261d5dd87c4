"""Which cases, arms and predictions a page shows as pictures."""

from collections.abc import Sequence
from pathlib import Path

from dimlift.records.record import Record
from dimlift.records.study import Study
from dimlift.report.paired_differences import scores_of
from dimlift.report.phrases import number
from dimlift.report.summary_types import Row, Summary

MOST_PREDICTIONS = 6
"""Predictions beside each other: more than these cannot be compared by eye."""


def ranked_cases(study: Study, summary: Summary, records: Sequence[Record]) -> list[tuple[str, str]]:
    """Cases with an image and a truth, and what is special about each.

    The best, the median and the worst of the reference (of the first arm with results, if it has none) come first, the
    others follow from best to worst.
    """
    judged = next(
        (row for row in sorted(summary.rows, key=lambda row: not row.is_reference) if row.mean is not None), None
    )
    if judged is None:
        return []
    scores: dict[str, list[float]] = {}
    for key, value in scores_of((r for r in records if r.arm == judged.arm), summary.measure.name).items():
        if value is not None and key[3] in study.cases and study.cases[key[3]].truth:
            scores.setdefault(key[3], []).append(value)
    ranked = sorted(scores, key=lambda case: (-summary.measure.better * sum(scores[case]) / len(scores[case]), case))
    if not ranked:
        return []
    places = {0: "best", len(ranked) // 2: "median", len(ranked) - 1: "worst"}
    special = {ranked[place]: f"{rank} for {judged.title}" for place, rank in reversed(places.items())}
    return [(case, special[case]) for case in ranked if case in special] + [
        (case, "") for case in ranked if case not in special
    ]


def shown_rows(summary: Summary) -> list[Row]:
    """Rows at the largest label fraction that have a result: the reference first, then from best to worst."""
    largest = max(row.fraction for row in summary.rows)
    rows = [row for row in summary.rows if row.fraction == largest and row.finished]
    if len(rows) <= MOST_PREDICTIONS:
        return rows
    return sorted(rows, key=lambda row: (not row.is_reference, -summary.measure.better * (row.mean or 0.0)))


def stored_prediction(
    folder: Path, records: Sequence[Record], row: Row, case: str, suffix: str = ".nii.gz"
) -> tuple[Path, Record] | None:
    """The labels of a case by the first seed of an arm that has them, and whose they are."""
    own = [r for r in records if (r.arm, r.fraction, r.status) == (row.arm, row.fraction, "finished")]
    for record in sorted(own, key=lambda r: (r.seed, r.fold)):
        path = folder / "predictions" / record.cell / f"{case}{suffix}"
        if path.is_file():
            return path, record
    return None


def score_of_case(summary: Summary, record: Record, case: str) -> str:
    """The score of one case in one run, its mean over classes, in words."""
    values = [
        score.value
        for score in record.scores
        if (score.case, score.metric) == (case, summary.measure.name) and score.value is not None
    ]
    return f"{summary.measure.title} {number(sum(values) / len(values), 2)}" if values else "no score"
