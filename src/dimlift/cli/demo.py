"""`dimlift demo`: the whole of dimlift with nothing to bring."""

from pathlib import Path
from typing import Annotated

import typer

from dimlift.cli.console import FAULT
from dimlift.cli.tables import show_results


def demo(
    to: Annotated[Path, typer.Option("--out", help="Folder for everything the demo writes.")] = Path("dimlift-demo"),
    quick: Annotated[
        bool, typer.Option("--quick", help="One minute of training instead of six: see it work, believe nothing.")
    ] = False,
    points: Annotated[
        bool, typer.Option("--points", help="Clouds of points instead of volumes: three minutes.")
    ] = False,
) -> None:
    """Simulate subjects, train five arms at equal time, and write the page. Needs no network and no data.

    Examples:

        dimlift demo

        dimlift demo --quick --out look

        dimlift demo --points
    """
    if points:
        _demo_points(to, quick)
        return
    from dimlift.cli.progress_bars import Bars
    from dimlift.report.page import write_page
    from dimlift.report.summary import summarise
    from dimlift.studies.demo import demo as run_demo

    with Bars() as bars:
        run_demo(to, quick=quick, progress=bars)
    summary = summarise(to)
    show_results(summary, write_page(to))
    if summary.failed:
        raise typer.Exit(FAULT)


def _demo_points(to: Path, quick: bool) -> None:
    """Learn from clouds made of boxes, in two ways, and write the page."""
    from dimlift.cli.console import out
    from dimlift.cli.progress_bars import Bars
    from dimlift.records.json_file import read_json
    from dimlift.report.point_page import write_clouds_page
    from dimlift.studies.demo_points import demo_points

    with Bars() as bars:
        demo_points(to, quick=quick, progress=bars)
    for row in read_json(to / "points.json")["rows"]:
        out.print(f"{row['name']}: accuracy {row['accuracy']:.3f} of a linear SVM on frozen features", markup=False)
    out.print(f"The page: {write_clouds_page(to)}", soft_wrap=True, markup=False)
