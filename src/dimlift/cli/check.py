"""`dimlift check`: verify that every file of a dataset can be used for training."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from dimlift.cli.console import EXIT_USER_ERROR, out
from dimlift.cli.progress_bars import ProgressBars
from dimlift.progress import Event

if TYPE_CHECKING:
    from dimlift.data.case import Dataset
    from dimlift.data.issue import Issue

_COLOURS = {"error": "red", "warning": "yellow"}

_FILE_WIDTH = 1000
"""Columns of a table that is written to a file or a pipe: one line per issue, so that it can be searched."""


def check(
    dataset: Annotated[
        Path,
        typer.Argument(help="nnU-Net or Decathlon folder, images/ + labels/, a CSV, or point clouds (docs/data.md)."),
    ],
    layout: Annotated[str, typer.Option(help="Layout of the files, where 'auto' detects the wrong one.")] = "auto",
    task: Annotated[
        str | None,
        typer.Option(
            help="segmentation, classification or regression. By default segmentation; inferred for point clouds."
        ),
    ] = None,
    nan_policy: Annotated[str, typer.Option(help="NaN and infinite voxels: error, replace or mask.")] = "error",
    resample_labels: Annotated[
        bool, typer.Option("--resample-labels", help="Accept masks on another grid than their image, resampled.")
    ] = False,
    missing: Annotated[
        str, typer.Option("--missing-channels", help="Cases that lack the files of some channels: error or allow.")
    ] = "error",
    as_json: Annotated[bool, typer.Option("--json", help="Print the issues as JSON.")] = False,
) -> None:
    """Read every file completely and list what is wrong.

    Exit code 2 if any file cannot be used as it is.

    Examples:

        dimlift check Task04_Hippocampus

        dimlift check cohort.csv --task classification --json

        dimlift check scans
    """
    from dimlift.data.datasets.open_dataset import open_dataset
    from dimlift.data.quality.check_dataset import check_dataset

    opened = open_dataset(dataset, layout, task)  # type: ignore[arg-type]  # it validates the task
    with ProgressBars() as bars:
        issues = check_dataset(
            opened,
            nan_policy,  # type: ignore[arg-type]
            lambda done, total: bars(Event("check", fraction=done / max(total, 1))),
            resample_labels=resample_labels,
            missing=missing,  # type: ignore[arg-type]
        )
    errors = sum(issue.level == "error" for issue in issues)
    if as_json:
        rows = [{"file": i.file, "level": i.level, "message": i.message, "fix": i.fix} for i in issues]
        summary = {"dataset": opened.name, "task": opened.task, "cases": len(opened.cases), "labels": opened.labels}
        typer.echo(json.dumps({**summary, "errors": errors, "issues": rows}, indent=1))
    else:
        if issues:
            out.print(_table(opened, issues), width=None if out.is_terminal else _FILE_WIDTH)
        result = f"{errors} error(s), {len(issues) - errors} warning(s)" if issues else "no issues"
        out.print(f"{opened.name}: {len(opened.cases)} cases, {len(opened.labels)} labels, {result}", markup=False)
    if errors:
        raise typer.Exit(EXIT_USER_ERROR)


def _table(dataset: "Dataset", issues: Sequence["Issue"]) -> Table:
    """Return a table with one row per issue; paths are relative to the dataset."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_lines=False)
    for heading in ("", "file", "issue", "fix"):
        table.add_column(heading, overflow="fold")
    for issue in issues:
        level = Text(issue.level, _COLOURS[issue.level])
        table.add_row(level, Text(dataset.relative(Path(issue.file))), Text(issue.message), Text(issue.fix))
    return table
