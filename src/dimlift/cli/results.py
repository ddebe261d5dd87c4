"""What a run or a study came to, as the commands print it."""

from collections import defaultdict
from pathlib import Path

from rich.table import Table

from dimlift.cli.console import out
from dimlift.records.record import Record


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


def show_results(study: Path, page: Path) -> None:
    """Print one line for each arm, the verdicts, and where the page is."""
    from dimlift.report.summary import summarise

    summary = summarise(study)
    out.print(summary)
    out.print(f"page: {page}", soft_wrap=True)
