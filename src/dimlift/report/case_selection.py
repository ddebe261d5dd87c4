"""Selection of the cases, arms and predictions that a page shows as images."""

from collections.abc import Sequence
from pathlib import Path

from dimlift.records.record import RunRecord
from dimlift.records.study import Study
from dimlift.report.paired_differences import collect_scores
from dimlift.report.phrases import format_number
from dimlift.report.summary_types import Summary, SummaryRow

MAX_PREDICTIONS = 6
"""Predictions shown next to each other."""


def select_cases(study: Study, summary: Summary, records: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """Return the cases with image and truth, and the rank of the best, the median and the worst.

    The ranks are those of the reference, or of the first arm with results. Ranked cases come first, the others follow
    from best to worst.
    """
    ranking = next(
        (row for row in sorted(summary.rows, key=lambda row: not row.is_reference) if row.mean is not None), None
    )
    if ranking is None:
        return []
    scores: dict[str, list[float]] = {}
    for key, value in collect_scores((r for r in records if r.arm == ranking.arm), summary.measure.name).items():
        if value is not None and key.case in study.cases and study.cases[key.case].truth:
            scores.setdefault(key.case, []).append(value)
    cases = sorted(scores, key=lambda case: (-summary.measure.better * sum(scores[case]) / len(scores[case]), case))
    if not cases:
        return []
    ranks = {0: "best", len(cases) // 2: "median", len(cases) - 1: "worst"}
    rank_of = {cases[index]: f"{rank} for {ranking.title}" for index, rank in ranks.items()}
    ranked = [(case, rank_of[case]) for case in cases if case in rank_of]
    return [*ranked, *((case, "") for case in cases if case not in rank_of)]


def select_rows(summary: Summary) -> list[SummaryRow]:
    """Return the finished rows at the largest training size; if there are many, the reference and the best first."""
    rows = [row for row in summary.rows if row.train_size == summary.largest_size and row.finished]
    if len(rows) <= MAX_PREDICTIONS:
        return rows
    return sorted(rows, key=lambda row: (not row.is_reference, -summary.measure.better * (row.mean or 0.0)))


def find_prediction(
    folder: Path, records: Sequence[RunRecord], row: SummaryRow, case: str, suffix: str = ".nii.gz"
) -> tuple[Path, RunRecord] | None:
    """Return the stored prediction of a case by the first seed of an arm that has one, and the record of its run."""
    own = [r for r in records if (r.arm, r.train_size, r.status) == (row.arm, row.train_size, "finished")]
    for record in sorted(own, key=lambda r: (r.seed, r.fold)):
        path = folder / "predictions" / record.run_id / f"{case}{suffix}"
        if path.is_file():
            return path, record
    return None


def format_case_score(summary: Summary, record: RunRecord, case: str) -> str:
    """Return the score of one case in one run, averaged over classes."""
    values = [
        score.value
        for score in record.scores
        if (score.case, score.metric) == (case, summary.measure.name) and score.value is not None
    ]
    if not values:
        return "no score"
    return f"{summary.measure.title} {format_number(sum(values) / len(values), 2)}"
