"""`dimlift check`: is every file of a dataset fit to train on?"""

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from dimlift.cli.bars import Bars
from dimlift.cli.console import FAULT, out
from dimlift.experiments.progress import Event

_COLOURS = {"error": "red", "warning": "yellow"}


def check(
    dataset: Annotated[Path, typer.Argument(help="nnU-Net or Decathlon folder, images/ + labels/, or a CSV.")],
    layout: Annotated[str, typer.Option(help="How the files are laid out, if 'auto' gets it wrong.")] = "auto",
    task: Annotated[str, typer.Option(help="segmentation, classification or regression.")] = "segmentation",
    nan_policy: Annotated[str, typer.Option(help="NaN and infinite voxels: error, replace or mask.")] = "error",
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Read every file to its end and list what is wrong.

    Exit code 2 if any file cannot be used as it is.

    Examples:

        dimlift check Task04_Hippocampus

        dimlift check cohort.csv --task classification --json
    """
    from dimlift.data.check import check_dataset
    from dimlift.data.dataset import open_dataset

    opened = open_dataset(dataset, layout, task)  # type: ignore[arg-type]  # it checks the name itself
    with Bars() as bars:
        heard = partial(_tell, bars)
        findings = check_dataset(opened, nan_policy, heard)  # type: ignore[arg-type]
    errors = sum(found.level == "error" for found in findings)
    if as_json:
        rows = [{"file": f.file, "level": f.level, "finding": f.finding, "remedy": f.remedy} for f in findings]
        summary = {"dataset": opened.name, "task": opened.task, "cases": len(opened.cases), "labels": opened.labels}
        typer.echo(json.dumps({**summary, "errors": errors, "findings": rows}, indent=1))
    else:
        for found in findings:
            out.print(f"[{_COLOURS[found.level]}]{found.level}[/]", end=" ")
            lines = (found.file, f"  found:   {found.finding}", f"  way out: {found.remedy}")
            out.print("\n".join(lines), soft_wrap=True, markup=False)
        verdict = f"{errors} error(s), {len(findings) - errors} warning(s)" if findings else "nothing wrong"
        out.print(f"{opened.name}: {len(opened.cases)} cases, {len(opened.labels)} labels, {verdict}", markup=False)
    if errors:
        raise typer.Exit(FAULT)


def _tell(bars: Bars, done: int, total: int) -> None:
    bars(Event("check", share=done / max(total, 1)))
