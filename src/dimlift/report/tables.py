"""Tables next to a page: `<page>.csv`, `<page>_scores.csv` and `<page>.json`."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dimlift.records.csv_text import to_csv
from dimlift.records.record import RunRecord, write_json, write_text
from dimlift.report.summary_types import Summary, SummaryRow


def write_tables(page: Path, summary: Summary, records: Sequence[RunRecord]) -> list[Path]:
    """Write one line per arm and training size, one line per score, and the summary as JSON.

    Args:
        page: the HTML file; the tables are written to its folder, with its name.
    """
    arms = [_line(row, summary) for row in summary.rows]
    header = ("arm", "train_fraction", "train_count", "fold", "seed", "case", "class", "metric", "value")
    scores = [
        (r.arm, r.train_fraction, r.train_count, r.fold, r.seed, score.case, score.class_, score.metric, score.value)
        for r in records
        if r.status == "finished"
        for score in r.scores
    ]
    return [
        write_text(page.with_suffix(".csv"), to_csv([arms[0], *(line.values() for line in arms)])),
        write_text(page.with_name(f"{page.stem}_scores.csv"), to_csv([header, *scores])),
        write_json(page.with_suffix(".json"), asdict(summary)),
    ]


def _line(row: SummaryRow, summary: Summary) -> dict[str, Any]:
    estimate = row.comparison.estimate if row.comparison else None
    others = sorted({name for each in summary.rows for name in each.other_measures})
    return {
        "arm": row.arm,
        "title": row.title,
        "train_fraction": row.train_size.fraction,
        "train_count": row.train_size.count,
        "reference": row.is_reference,
        summary.measure.name: row.mean,
        "difference": estimate and estimate.mean,
        "low": estimate and estimate.low,
        "high": estimate and estimate.high,
        "p": estimate and estimate.p,
        "p_holm": row.comparison and row.comparison.p_adjusted,
        "verdict": row.comparison and row.comparison.verdict,
        "reason": row.comparison and row.comparison.reason,
        "rests_on": row.comparison and row.comparison.decisive,
        "no_difference_larger_than": row.comparison and row.comparison.margin,
        "for_these_weights": row.comparison
        and row.comparison.p_for_these_weights is not None
        and row.comparison.for_these_weights,
        "cases": estimate and estimate.n_cases,
        "seeds": estimate and estimate.n_seeds,
        **{name: row.other_measures.get(name) for name in others},
        "seconds": row.seconds,
        "peak_bytes": row.peak_bytes,
        "steps": row.steps,
        "parameters": row.parameters,
        "finished": row.finished,
        "failed": row.failed,
    }
