"""`dimlift demo`: the whole of dimlift with nothing to bring."""

from pathlib import Path
from typing import Annotated

import typer

from dimlift.cli.console import FAULT
from dimlift.cli.results import show_results


def demo(
    to: Annotated[Path, typer.Option("--out", help="Folder for everything the demo writes.")] = Path("dimlift-demo"),
    quick: Annotated[
        bool, typer.Option("--quick", help="One minute of training instead of six: see it work, believe nothing.")
    ] = False,
) -> None:
    """Simulate subjects, train five arms at equal time, and write the page. Needs no network and no data.

    Examples:

        dimlift demo

        dimlift demo --quick --out look
    """
    from dimlift.cli.bars import Bars
    from dimlift.experiments.demo import demo as run_demo
    from dimlift.report.page import write_page
    from dimlift.report.summary import summarise

    with Bars() as bars:
        run_demo(to, quick=quick, progress=bars)
    summary = summarise(to)
    show_results(summary, write_page(to))
    if summary.failed:
        raise typer.Exit(FAULT)
