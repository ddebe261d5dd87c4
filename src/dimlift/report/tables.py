"""The numbers of a page as files beside it: `<page>.csv`, `<page>_scores.csv` and `<page>.json`."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dimlift.records.record import Record, write_json, write_text
from dimlift.report.summary_types import Row, Summary


def write_tables(page: Path, summary: Summary, records: Sequence[Record]) -> list[Path]:
    """Write one line for each arm and label fraction, one for each score, and the whole summary as JSON.

    Args:
        page: the HTML file; the tables lie in its folder and carry its name.
    """
    arms = [_line(row, summary) for row in summary.rows]
    head = ("arm", "fraction", "fold", "seed", "case", "class", "metric", "value")
    scores = [
        (record.arm, record.fraction, record.fold, record.seed, score.case, score.class_, score.metric, score.value)
        for record in records
        if record.status == "finished"
        for score in record.scores
    ]
    return [
        write_text(page.with_suffix(".csv"), _csv(arms[0], (line.values() for line in arms))),
        write_text(page.with_name(f"{page.stem}_scores.csv"), _csv(head, scores)),
        write_json(page.with_suffix(".json"), asdict(summary)),
    ]


def _line(row: Row, summary: Summary) -> dict[str, Any]:
    found = row.comparison.estimate if row.comparison else None
    return {
        "arm": row.arm,
        "title": row.title,
        "fraction": row.fraction,
        "reference": row.is_reference,
        summary.measure.name: row.mean,
        "difference": found and found.mean,
        "low": found and found.low,
        "high": found and found.high,
        "p": found and found.p,
        "p_holm": row.comparison and row.comparison.p_adjusted,
        "verdict": row.comparison and row.comparison.verdict,
        "cases": found and found.n_cases,
        "seeds": found and found.n_seeds,
        **{name: row.others.get(name) for name in sorted({name for each in summary.rows for name in each.others})},
        "seconds": row.seconds,
        "peak_bytes": row.peak_bytes,
        "steps": row.steps,
        "parameters": row.parameters,
        "finished": row.finished,
        "failed": row.failed,
    }


def _csv(head: Iterable[str], lines: Iterable[Iterable[Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(lines)
    return buffer.getvalue()
