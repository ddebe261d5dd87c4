"""`dimlift report`: write the report of a study from its records."""

from pathlib import Path
from typing import Annotated

import typer

from dimlift.cli.tables import print_summary


def report(
    study: Annotated[
        Path, typer.Argument(help="Folder written by `dimlift compare` or `dimlift demo`; the study may be unfinished.")
    ],
    to: Annotated[Path | None, typer.Option("--out", help="The HTML file; STUDY/report.html by default.")] = None,
) -> None:
    """Print the table of a study and write its report. Does not import torch.

    Examples:

        dimlift report study

        dimlift report study --out page.html
    """
    from dimlift.report.page import write_report
    from dimlift.report.summary import summarise

    print_summary(summarise(study), write_report(study, to))
