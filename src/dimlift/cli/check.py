"""`dimlift check`: is every file of a dataset fit to train on?"""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from dimlift.cli.console import FAULT, out
from dimlift.cli.progress_bars import Bars
from dimlift.progress import Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from dimlift.data.case import Dataset
    from dimlift.data.issue import Finding

_COLOURS = {"error": "red", "warning": "yellow"}

_WIDE = 1000
"""Columns of a table that goes into a file or a pipe: one line a finding, so that it can be searched."""


def check(
    dataset: Annotated[Path, typer.Argument(help="nnU-Net or Decathlon folder, images/ + labels/, a CSV, or clouds.")],
    layout: Annotated[str, typer.Option(help="How the files are laid out, if 'auto' gets it wrong.")] = "auto",
    task: Annotated[
        str | None,
        typer.Option(help="segmentation, classification or regression; of clouds, if not given, what is labelled."),
    ] = None,
    nan_policy: Annotated[str, typer.Option(help="NaN and infinite voxels: error, replace or mask.")] = "error",
    resample_labels: Annotated[
        bool, typer.Option("--resample-labels", help="Take masks on another grid than their image, resampled.")
    ] = False,
    missing: Annotated[
        str, typer.Option("--missing-sequences", help="Files of some channels that a case lacks: error or allow.")
    ] = "error",
    clouds: Annotated[
        bool, typer.Option("--clouds", help="Clouds of points, should that not be seen by itself (docs/points.md).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Read every file to its end and list what is wrong.

    Exit code 2 if any file cannot be used as it is.

    Examples:

        dimlift check Task04_Hippocampus

        dimlift check cohort.csv --task classification --json

        dimlift check scans
    """
    from dimlift.data.datasets.open_dataset import open_dataset
    from dimlift.data.datasets.point_cloud_index import holds_clouds
    from dimlift.data.datasets.point_clouds import labelled_task, open_cloud_dataset
    from dimlift.data.quality.check_dataset import check_cases, check_dataset
    from dimlift.data.quality.check_point_cloud import look_at_cloud

    opened: Dataset
    look: Callable[[Callable[[int, int], None]], list[Finding]]
    if clouds or holds_clouds(dataset):
        opened = open_cloud_dataset(dataset, task or labelled_task(dataset))  # type: ignore[arg-type]  # it checks it
        look = partial(check_cases, opened, partial(look_at_cloud, dataset=opened), content="points")
    else:
        opened = open_dataset(dataset, layout, task or "segmentation")  # type: ignore[arg-type]  # it checks the name itself
        look = partial(
            check_dataset,
            opened,
            nan_policy,  # type: ignore[arg-type]
            resample_labels=resample_labels,
            missing=missing,  # type: ignore[arg-type]
        )
    with Bars() as bars:
        findings = look(partial(_tell, bars))
    errors = sum(found.level == "error" for found in findings)
    if as_json:
        rows = [{"file": f.file, "level": f.level, "finding": f.finding, "remedy": f.remedy} for f in findings]
        summary = {"dataset": opened.name, "task": opened.task, "cases": len(opened.cases), "labels": opened.labels}
        typer.echo(json.dumps({**summary, "errors": errors, "findings": rows}, indent=1))
    else:
        if findings:
            out.print(_table(opened, findings), width=None if out.is_terminal else _WIDE)
        verdict = f"{errors} error(s), {len(findings) - errors} warning(s)" if findings else "nothing wrong"
        out.print(f"{opened.name}: {len(opened.cases)} cases, {len(opened.labels)} labels, {verdict}", markup=False)
    if errors:
        raise typer.Exit(FAULT)


def _table(dataset: "Dataset", findings: Sequence["Finding"]) -> Table:
    """One row a finding; files as they lie below the dataset."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_lines=False)
    for heading in ("", "file", "finding", "remedy"):
        table.add_column(heading, overflow="fold")
    for found in findings:
        level = Text(found.level, _COLOURS[found.level])
        table.add_row(level, Text(dataset.relative(Path(found.file))), Text(found.finding), Text(found.remedy))
    return table


def _tell(bars: Bars, done: int, total: int) -> None:
    bars(Event("check", share=done / max(total, 1)))
