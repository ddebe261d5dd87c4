"""`dimlift compare`: arms beside each other, and a page that says which one paid."""

from pathlib import Path
from typing import Annotated

import typer

from dimlift.cli.console import FAULT
from dimlift.cli.options import Deterministic, Log, Overrides, Resume, all_overrides
from dimlift.cli.tables import show_results


def compare(
    study: Annotated[Path, typer.Argument(help="A study (.yaml): data, budget, arms, folds, seeds.")],
    overrides: Overrides = None,
    to: Annotated[
        Path, typer.Option("--out", help="Folder of the study; started again, it runs what is missing.")
    ] = Path("study"),
    deterministic: Deterministic = False,
    on: Annotated[
        str, typer.Option("--on", help="Where cells run: local, ray, ray://HOST:10001 or slurm (docs/scale.md).")
    ] = "local",
    jobs: Annotated[
        int | None, typer.Option("--jobs", help="Cells at once, in processes here or in a job array; 1 if not given.")
    ] = None,
    resume: Resume = False,
    log: Log = None,
) -> None:
    """Train every arm on every fold with every seed, then write the page. Stop and start it as you like.

    Examples:

        dimlift compare examples/study.yaml dataset.path=Task04_Hippocampus --out study

        dimlift compare study.yaml budget.seconds=300 'seeds=[0,1,2,3,4]' --out study

        dimlift compare study.yaml resources.gpus=1 --on ray://head:10001 --out /shared/study
    """
    from dimlift.cli.progress_bars import Bars
    from dimlift.report.page import write_page
    from dimlift.report.summary import summarise
    from dimlift.studies.compare import compare as run_study
    from dimlift.studies.executors.dispatch import machines
    from dimlift.studies.load_config import load_config
    from dimlift.studies.run_config import StudyConfig
    from dimlift.studies.run_folder import require_begun
    from dimlift.training.loggers import Curves

    overrides = all_overrides(overrides, deterministic)
    runs = machines(on, jobs)
    if resume:
        require_begun(to)
    config = load_config(study, overrides, StudyConfig)
    with Bars() as bars, Curves(log or (), to / "curves", bars) as curves:
        records = run_study(config, to, progress=curves, runs=runs)
        for number, record in enumerate(records, start=1):
            curves.scored(record, number, len(records))
    summary = summarise(to)
    show_results(summary, write_page(to))
    if summary.failed:
        raise typer.Exit(FAULT)
