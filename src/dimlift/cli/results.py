"""What a run or a study came to, as the commands print it."""

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from dimlift.cli.console import out
from dimlift.records.record import Record

if TYPE_CHECKING:
    from dimlift.report.summary import Summary

_COLOURS = {"helps": "green", "hurts": "red", "no evidence yet": "default"}


def show_record(record: Record) -> None:
    """Print the means of a run: one line a class, one column a metric; where cases were undefined, how many."""
    values: dict[tuple[str, str], list[float | None]] = defaultdict(list)
    for score in record.scores:
        values[score.class_, score.metric].append(score.value)
    metrics = list(dict.fromkeys(metric for _, metric in values))
    table = Table("class", *metrics, title=f"{record.arm}: {record.steps} steps in {record.seconds:.0f} s")
    for class_ in dict.fromkeys(class_ for class_, _ in values):
        table.add_row(class_, *(_mean(values[class_, metric]) for metric in metrics))
    if metrics:
        out.print(table)


def _mean(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    undefined = len(values) - len(known)
    return f"{sum(known) / len(known):.3f}" + (f" ({undefined} undefined)" if undefined else "")


def show_results(summary: "Summary", page: Path) -> None:
    """Print one line for each arm, the verdict, what must be known before believing it, and where the page is."""
    from dimlift.report.wording import duration, interval, memory, number, signed

    digits, measure = summary.measure.digits, summary.measure.title
    columns = [("arm", "left"), (measure, "right"), ("difference", "right"), ("95 % interval", "right")]
    columns += [("verdict", "left"), ("steps", "right"), ("time", "right"), ("memory", "right")]
    table = Table(title=summary.title, title_justify="left")
    for name, side in columns:
        table.add_column(name, justify=side)  # type: ignore[arg-type]  # rich knows both words
    for row in summary.rows:
        name = f"{row.title} ({row.fraction:g})" if summary.several_fractions else row.title
        cells = [escape(name), "-" if row.mean is None else number(row.mean, digits)]
        if row.comparison is None:
            cells += ["", "", "reference" if row.is_reference else "nothing to compare yet"]
        else:
            found, verdict = row.comparison.estimate, row.comparison.verdict
            cells += [signed(found.mean, digits), interval(found, digits), f"[{_COLOURS[verdict]}]{verdict}[/]"]
        cells += ["-" if row.steps is None else f"{row.steps:.0f}"]
        cells += ["-" if row.seconds is None else duration(row.seconds)]
        cells += ["-" if row.peak_bytes is None else memory(row.peak_bytes)]
        table.add_row(*cells)
    out.print(table)
    for failure in summary.failures:
        out.print(
            f"[red]failed[/] {escape(failure.title)}, seed {failure.seed}: {escape(failure.reason)}", soft_wrap=True
        )
    for sentence in (summary.sentence, *summary.notes):
        out.print(sentence, markup=False)
    out.print(
        f"\n{summary.finished} of {summary.planned} runs finished. The page: {page}", soft_wrap=True, markup=False
    )
