"""`dimlift check`: is every file of a dataset fit to train on?"""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from dimlift.cli.console import FAULT, err, out


def check(
    dataset: Annotated[
        Path, typer.Argument(help="A folder (nnU-Net raw, Medical Segmentation Decathlon, images/ + labels/) or a CSV.")
    ],
    layout: Annotated[str, typer.Option(help="auto, nnunet, msd, csv or folders.")] = "auto",
    task: Annotated[str, typer.Option(help="segmentation, classification or regression.")] = "segmentation",
    nan_policy: Annotated[
        str, typer.Option(help="What voxels that are no numbers mean: error, replace or mask.")
    ] = "error",
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Read every file to its end and list what is wrong with it. Exit code 2 if anything is.

    Examples:

        dimlift check Task04_Hippocampus

        dimlift check cohort.csv --task classification --json
    """
    from dimlift.data.check import check_dataset
    from dimlift.data.dataset import open_dataset

    opened = open_dataset(dataset, layout=layout, task=task)
    with err.status(f"reading {len(opened.cases)} cases of {opened.name}"):
        findings = check_dataset(opened, nan_policy=nan_policy)
    errors = sum(finding.level == "error" for finding in findings)
    if as_json:
        rows = [
            {"file": str(found.file), "level": found.level, "finding": found.finding, "remedy": found.remedy}
            for found in findings
        ]
        summary = {"dataset": opened.name, "task": opened.task, "cases": len(opened.cases), "labels": opened.labels}
        typer.echo(json.dumps({**summary, "errors": errors, "findings": rows}, indent=1))
    else:
        if findings:
            table = Table(
                "level",
                "file",
                "found",
                "way out",
                title=f"{opened.name}: {len(opened.cases)} cases",
                title_justify="left",
            )
            for found in findings:
                table.add_row(found.level, str(found.file), found.finding, found.remedy)
            out.print(table)
        verdict = f"{errors} errors, {len(findings) - errors} warnings" if findings else "nothing wrong"
        out.print(f"{opened.name}: {len(opened.cases)} cases, {len(opened.labels)} labels: {verdict}")
    if errors:
        raise typer.Exit(FAULT)
