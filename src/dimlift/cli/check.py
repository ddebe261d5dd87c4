"""`dimlift check`: verify that every file of a dataset can be used for training."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from dimlift.cli.console import EXIT_USER_ERROR, out
from dimlift.cli.progress_bars import ProgressBars
from dimlift.config.safe_yaml import read_yaml
from dimlift.errors import ConfigError, DataError
from dimlift.progress import Event

if TYPE_CHECKING:
    from dimlift.data.case import Dataset
    from dimlift.data.datasets.role_summary import RoleRow
    from dimlift.data.issue import Issue

_COLOURS = {"error": "red", "warning": "yellow"}

_FILE_WIDTH = 1000
"""Columns of a table that is written to a file or a pipe: one line per issue, so that it can be searched."""


def check(
    dataset: Annotated[
        Path,
        typer.Argument(
            help="nnU-Net or Decathlon folder, images/ + labels/, one folder per patient or class, a CSV, or point "
            "clouds (docs/data.md)."
        ),
    ],
    layout: Annotated[
        str,
        typer.Option(
            help="Layout of the files, where 'auto' detects the wrong one: a name, or patterns as in '{image: "
            '"{case}/*_t1.nii.gz", label: "{case}/*_seg.nii.gz"}\', or a YAML file with them.'
        ),
    ] = "auto",
    task: Annotated[
        str | None, typer.Option(help="segmentation, classification or regression; inferred from the labels.")
    ] = None,
    nan_policy: Annotated[str, typer.Option(help="NaN and infinite voxels: error, replace or mask.")] = "error",
    resample_labels: Annotated[
        bool, typer.Option("--resample-labels", help="Accept masks on another grid than their image, resampled.")
    ] = False,
    missing: Annotated[
        str, typer.Option("--missing-channels", help="Cases that lack the files of some channels: error or allow.")
    ] = "error",
    columns: Annotated[
        str, typer.Option(help="Names of the columns of point clouds whose files do not name them: 'x y z r g b'.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the issues as JSON.")] = False,
) -> None:
    """Read every file completely and list what is wrong.

    Exit code 2 if any file cannot be used as it is.

    Examples:

        dimlift check Task04_Hippocampus

        dimlift check cohort.csv --task classification --json

        dimlift check scans

        dimlift check scans --layout '{image: "{case}/*_t1.nii.gz", label: "{case}/*_seg.nii.gz"}'
    """
    from dimlift.data.datasets.open_dataset import open_dataset
    from dimlift.data.datasets.role_summary import summarise_roles
    from dimlift.data.quality.check_dataset import check_dataset

    # open_dataset validates the task
    opened = open_dataset(dataset, _layout(layout), task, columns=columns.split())  # type: ignore[arg-type]
    if task is not None and task != opened.task:
        raise DataError(f"{dataset}: the labels are those of a {opened.task}, not of a {task}; remove --task")
    with ProgressBars() as bars:
        issues = check_dataset(
            opened,
            nan_policy,  # type: ignore[arg-type]
            lambda done, total: bars(Event("check", fraction=done / max(total, 1))),
            resample_labels=resample_labels,
            missing=missing,  # type: ignore[arg-type]
        )
    faulty = [Path(issue.file) for issue in issues if issue.level == "error"]
    roles, errors = summarise_roles(opened, faulty), len(faulty)
    if as_json:
        rows = [{"file": i.file, "level": i.level, "message": i.message, "fix": i.fix} for i in issues]
        summary = {"dataset": opened.name, "task": opened.task, "cases": len(opened.cases), "labels": opened.labels}
        read_as = {"layout": opened.layout, "files": [asdict(row) for row in roles]}
        typer.echo(json.dumps({**summary, **read_as, "errors": errors, "issues": rows}, indent=1))
    else:
        if issues:
            out.print(_table(opened, issues), width=None if out.is_terminal else _FILE_WIDTH)
        out.print(f"read as: {opened.layout}, {opened.task}", markup=False)
        out.print(_role_table(roles), width=None if out.is_terminal else _FILE_WIDTH)
        result = f"{errors} error(s), {len(issues) - errors} warning(s)" if issues else "no issues"
        out.print(f"{opened.name}: {len(opened.cases)} cases, {len(opened.labels)} labels, {result}", markup=False)
    if errors:
        raise typer.Exit(EXIT_USER_ERROR)


def _layout(text: str) -> str | dict[str, Any]:
    """Return a layout name, or the patterns of a YAML text or file.

    Raises:
        ConfigError: if it is a file that cannot be read, or no YAML.
    """
    if not text.startswith("{") and not text.endswith((".yaml", ".yml")):
        return text
    try:
        content = read_yaml(text if text.startswith("{") else Path(text).read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise ConfigError(
            f"--layout {text} cannot be read ({fault}); write a YAML mapping with image and label"
        ) from fault
    for key in ("dataset", "layout"):  # a configuration, a section of one, or the patterns themselves
        content = content.get(key, content) if isinstance(content, dict) else content
    if not isinstance(content, str | dict):
        raise ConfigError(f"--layout {text} holds no layout; write a YAML mapping with image and label")
    return content


def _role_table(roles: Sequence["RoleRow"]) -> Table:
    """Return a table with one row per role and channel, each with the first of its files."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_lines=False)
    for heading in ("files", "role", "channel", "example", "case", "patient", "class"):
        table.add_column(heading, overflow="fold")
    for row in roles:
        cells = (str(row.count), row.role, row.channel, row.example, row.case, row.patient, row.label)
        table.add_row(*map(Text, cells))
    return table


def _table(dataset: "Dataset", issues: Sequence["Issue"]) -> Table:
    """Return a table with one row per issue; paths are relative to the dataset."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_lines=False)
    for heading in ("", "file", "issue", "fix"):
        table.add_column(heading, overflow="fold")
    for issue in issues:
        level = Text(issue.level, _COLOURS[issue.level])
        table.add_row(level, Text(dataset.relative(Path(issue.file))), Text(issue.message), Text(issue.fix))
    return table
