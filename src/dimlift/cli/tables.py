"""What a run or a study came to, as the commands print it."""

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from dimlift.cli.console import out
from dimlift.metrics.scores import ONE_EMPTY
from dimlift.records.record import Record

if TYPE_CHECKING:
    from dimlift.report.summary import Summary

_COLOURS = {"helps": "green", "hurts": "red", "no evidence yet": "default"}


def show_record(record: Record) -> None:
    """Print the means of a run: one line a class, one column a metric; where cases were undefined, how many."""
    values: dict[tuple[str, str], list[float | None]] = defaultdict(list)
    for score in record.scores:
        values[score.class_, score.metric].append(score.value)
    worst = {class_: sum(v == 1 for v in found) for (class_, metric), found in values.items() if metric == ONE_EMPTY}
    metrics = [metric for metric in dict.fromkeys(metric for _, metric in values) if metric != ONE_EMPTY]
    table = Table("class", *metrics, title=f"{record.arm}: {record.steps} steps in {record.seconds:.0f} s")
    for class_ in dict.fromkeys(class_ for class_, _ in values):
        table.add_row(class_, *(_mean(values[class_, metric]) for metric in metrics))
    if metrics:
        out.print(table)
    for class_, count in worst.items():
        if count:
            out.print(
                f"{class_}: {count} with the worst value, as only one of truth and prediction held it", markup=False
            )


def _mean(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    undefined = len(values) - len(known)
    return f"{sum(known) / len(known):.3f}" + (f" ({undefined} undefined)" if undefined else "")


def show_results(summary: "Summary", page: Path) -> None:
    """Print one line for each arm, the verdict, what must be known before believing it, and where the page is."""
    from dimlift.report.phrases import duration, interval, number, signed

    digits, measure = summary.measure.digits, summary.measure.title
    table = Table("arm", measure, "difference", "verdict", "time", title=summary.title, box=SIMPLE_HEAD)
    for row in summary.rows:
        name = f"{row.title} ({row.fraction:g})" if summary.several_fractions else row.title
        difference, verdict = "", "reference" if row.is_reference else "nothing to compare yet"
        if row.comparison is not None:
            found, verdict = row.comparison.estimate, row.comparison.verdict
            difference = f"{signed(found.mean, digits)}\n[dim]{interval(found, digits)}[/]"
        mean = "-" if row.mean is None else number(row.mean, digits)
        counts = [sum(getattr(c, name) for c in row.classes) for name in ("excluded", "worst")]
        mean += "".join(
            f"\n[dim]{count} {what}[/]" for count, what in zip(counts, ("left out", "worst"), strict=True) if count
        )
        time = "-" if row.seconds is None else duration(row.seconds)
        table.add_row(escape(name), mean, difference, f"[{_COLOURS.get(verdict, 'default')}]{verdict}[/]", time)
    out.print(table)
    for failure in summary.failures:
        out.print(
            f"[red]failed[/] {escape(failure.title)}, seed {failure.seed}: {escape(failure.reason)}", soft_wrap=True
        )
    out.print(summary.sentence, markup=False, style="bold")
    for note in summary.notes:
        out.print(f"- {note}", markup=False)
    out.print(
        f"\n{summary.finished} of {summary.planned} runs finished. The page: {page}", soft_wrap=True, markup=False
    )
