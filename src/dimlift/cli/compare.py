"""`dimlift compare`: train the arms of a study and write its report."""

from pathlib import Path
from typing import Annotated

import typer

from dimlift.cli.console import EXIT_USER_ERROR, out
from dimlift.cli.options import Deterministic, Log, Overrides, Resume, all_overrides
from dimlift.cli.tables import print_summary


def compare(
    study: Annotated[
        str,
        typer.Argument(
            help="A study (.yaml): dataset, budget, arms, cv folds, seeds. Or a dataset of volumes, on which a network "
            "from scratch, frozen 2D features and their random control are compared in ten minutes each, three times."
        ),
    ],
    overrides: Overrides = None,
    to: Annotated[
        Path, typer.Option("--out", help="Folder of the study; repeating the command runs what is missing.")
    ] = Path("study"),
    deterministic: Deterministic = False,
    executor: Annotated[
        str,
        typer.Option(
            "--executor", help="Where runs are executed: local, ray, ray://HOST:10001 or slurm (docs/scale.md)."
        ),
    ] = "local",
    max_jobs: Annotated[
        int | None,
        typer.Option("--max-jobs", help="Runs executed at the same time, locally or in a job array; 1 by default."),
    ] = None,
    resume: Resume = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Start a study that would hardly detect `report.effect`.")
    ] = False,
    log: Log = None,
) -> None:
    """Train every arm on every cv fold with every seed, and write the report. It can be interrupted and resumed.

    Examples:

        dimlift compare Task04_Hippocampus budget.seconds=300 'train_counts=[4]' --out study

        dimlift compare examples/study.yaml dataset.path=Task04_Hippocampus --out study

        dimlift compare study.yaml budget.seconds=300 'seeds=[0,1,2,3,4]' --out study

        dimlift compare study.yaml 'train_counts=[1,4,16]' 'train_fractions=[1.0]' --out study

        dimlift compare study.yaml resources.gpus=1 --executor ray://head:10001 --out /shared/study
    """
    from dimlift.cli.progress_bars import ProgressBars
    from dimlift.report.page import write_report
    from dimlift.report.summary import summarise
    from dimlift.studies.compare import compare as run_study
    from dimlift.studies.defaults import describe_plan, study_config
    from dimlift.studies.executors.dispatch import make_executor
    from dimlift.studies.run_folder import require_existing_run
    from dimlift.training.loggers import Loggers

    overrides = all_overrides(overrides, deterministic)
    runs_on = make_executor(executor, max_jobs)
    if resume:
        require_existing_run(to)
    config = study_config(study, overrides)
    out.print(describe_plan(config, max_jobs or 1), soft_wrap=True)
    with ProgressBars() as bars, Loggers(log or (), to / "curves", bars) as loggers:
        records = run_study(config, to, progress=loggers, executor=runs_on, anyway=anyway)
        for number, record in enumerate(records, start=1):
            loggers.log_scores(record, number, len(records))
    summary = summarise(to)
    print_summary(summary, write_report(to))
    if summary.failed:
        raise typer.Exit(EXIT_USER_ERROR)
