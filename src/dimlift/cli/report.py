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
    margin: Annotated[
        float | None,
        typer.Option(min=0, help="Difference too small to matter; by default 0.01 Dice or IoU, 0.05 accuracy."),
    ] = None,
    unseen_failure: Annotated[
        float | None,
        typer.Option(min=0, help="A verdict has to hold although cases that the sample can miss fail by this much."),
    ] = None,
    unseen_collapse: Annotated[float | None, typer.Option(min=0, help="The same for trainings.")] = None,
) -> None:
    """Print the table of a study and write its report. Does not import torch.

    Examples:

        dimlift report study

        dimlift report study --out page.html

        dimlift report study --margin 0.005
    """
    from dimlift.report.page import write_report
    from dimlift.report.summary import study_rules, summarise

    rules = study_rules(study, margin=margin, unseen_failure=unseen_failure, unseen_collapse=unseen_collapse)
    print_summary(summarise(study, rules), write_report(study, to, rules))
