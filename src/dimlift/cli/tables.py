"""Printed results of a run or a study."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from dimlift.cli.console import out
from dimlift.metrics.scores import ONE_EMPTY
from dimlift.records.record import RunRecord

if TYPE_CHECKING:
    from dimlift.report.summary_types import Summary, SummaryRow

_COLOURS = {"helps": "green", "hurts": "red", "no evidence yet": "default"}


def print_record(record: RunRecord) -> None:
    """Print the mean scores of a run, one line per class and one column per metric."""
    values: dict[tuple[str, str], list[float | None]] = defaultdict(list)
    for score in record.scores:
        values[score.class_, score.metric].append(score.value)
    worst = {name: sum(v == 1 for v in marks) for (name, metric), marks in values.items() if metric == ONE_EMPTY}
    metrics = [metric for metric in dict.fromkeys(metric for _, metric in values) if metric != ONE_EMPTY]
    table = Table("class", *metrics, title=f"{record.arm}: {record.steps} steps in {record.seconds:.0f} s")
    for name in dict.fromkeys(name for name, _ in values):
        table.add_row(name, *(_mean(values[name, metric]) for metric in metrics))
    if metrics:
        out.print(table)
    for name, count in worst.items():
        if count:
            out.print(f"{name}: {count} with the worst value, as only one of truth and prediction has it", markup=False)


def print_plan(facts: Mapping[str, str]) -> None:
    """Print the facts of a plan, one row per topic."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for topic, text in facts.items():
        table.add_row(Text(topic), Text(text))
    out.print(table)


def _mean(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    undefined = len(values) - len(known)
    return f"{sum(known) / len(known):.3f}" + (f" ({undefined} undefined)" if undefined else "")


def print_summary(summary: "Summary", page: Path) -> None:
    """Print one line per arm, failed runs, the verdict, what it rests on, the notes, and the path of the page."""
    from dimlift.report.crossing_sentence import crossing_sentence
    from dimlift.report.phrases import verdict_limits

    table = Table("arm", summary.measure.title, "difference", "verdict", "time", title=summary.title, box=SIMPLE_HEAD)
    for row in summary.rows:
        table.add_row(*_cells(row, summary))
    out.print(table)
    for failure in summary.failures:
        line = Text.assemble(("failed", "red"), f" {failure.title}, seed {failure.seed}: {failure.reason}")
        out.print(line, soft_wrap=True)
    out.print(summary.sentence, markup=False, style="bold")
    for title, crossing in summary.crossings:
        out.print(crossing_sentence(title, crossing), markup=False)
    for note in (*verdict_limits(summary.rows, summary.measure.digits), *summary.notes):
        out.print(f"- {note}", markup=False)
    out.print(f"\n{summary.finished} of {summary.planned} runs finished. Report: {page}", soft_wrap=True, markup=False)


def _cells(row: "SummaryRow", summary: "Summary") -> list[str | Text]:
    from dimlift.report.phrases import format_duration, format_interval, format_number, format_signed

    digits = summary.measure.digits
    name = f"{row.title} ({row.train_size})" if summary.several_sizes else row.title
    difference, verdict = Text(), "reference" if row.is_reference else "no comparison yet"
    if row.comparison is not None:
        estimate, verdict = row.comparison.estimate, row.comparison.verdict
        difference = Text(f"{format_signed(estimate.mean, digits)}\n").append(format_interval(estimate, digits), "dim")
    mean = Text("-" if row.mean is None else format_number(row.mean, digits))
    for attribute, label in (("excluded", "excluded"), ("worst", "worst")):
        count = sum(getattr(result, attribute) for result in row.classes)
        mean.append(f"\n{count} {label}" if count else "", "dim")
    time = "-" if row.seconds is None else format_duration(row.seconds)
    return [name, mean, difference, Text(verdict, _COLOURS.get(verdict, "default")), time]
