"""`dimlift demo`: a complete study on simulated data."""

from pathlib import Path
from typing import Annotated

import typer

from dimlift.cli.console import EXIT_USER_ERROR
from dimlift.cli.tables import print_summary


def demo(
    to: Annotated[Path, typer.Option("--out", help="Folder for the files of the demo.")] = Path("dimlift-demo"),
    quick: Annotated[
        bool,
        typer.Option("--quick", help="One minute of training instead of six: too short for conclusions."),
    ] = False,
    points: Annotated[
        bool, typer.Option("--points", help="Point clouds instead of volumes: about four minutes of training.")
    ] = False,
) -> None:
    """Simulate data, train several arms for the same time, and write the report. Needs no data and no network access.

    Examples:

        dimlift demo

        dimlift demo --quick --out demo

        dimlift demo --points
    """
    from dimlift.cli.progress_bars import ProgressBars
    from dimlift.report.page import write_report
    from dimlift.report.summary import summarise
    from dimlift.studies.demo import demo as volume_demo
    from dimlift.studies.demo_point_clouds import demo_point_clouds

    run_demo = demo_point_clouds if points else volume_demo
    with ProgressBars() as bars:
        run_demo(to, quick=quick, progress=bars)
    summary = summarise(to)
    print_summary(summary, write_report(to))
    if summary.failed:
        raise typer.Exit(EXIT_USER_ERROR)
