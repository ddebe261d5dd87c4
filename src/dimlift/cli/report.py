"""`dimlift report`: the page of a study, written again from its records."""

from pathlib import Path
from typing import Annotated

import typer

from dimlift.cli.tables import show_results


def report(
    study: Annotated[
        Path, typer.Argument(help="Folder that `dimlift compare` or `dimlift demo` wrote; it may be unfinished.")
    ],
    to: Annotated[
        Path | None, typer.Option("--out", help="Where the page goes; STUDY/report.html if not given.")
    ] = None,
) -> None:
    """Read the records of a study, print its table, and write its page. Loads no torch.

    Examples:

        dimlift report study

        dimlift report study --out page.html
    """
    from dimlift.report.page import write_page
    from dimlift.report.summary import summarise

    show_results(summarise(study), write_page(study, to))
