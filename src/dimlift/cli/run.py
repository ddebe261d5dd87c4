"""`dimlift run`: from a dataset to a validated model, its page, and predictions."""

from pathlib import Path
from typing import Annotated

import typer

from dimlift.cli.console import out
from dimlift.cli.options import Deterministic, Overrides, all_overrides


def run(
    dataset: Annotated[
        Path, typer.Argument(help="Volumes or point clouds with their labels (docs/data.md), or a configuration.")
    ],
    overrides: Overrides = None,
    to: Annotated[
        Path, typer.Option("--out", help="Folder of the run; repeating the command resumes an interrupted run.")
    ] = Path("run"),
    plan_only: Annotated[bool, typer.Option("--plan", help="Print the plan and stop.")] = False,
    deterministic: Deterministic = False,
) -> None:
    """Plan, validate on held-out cases, train a final model on all cases, predict new ones.

    Prints the plan first: task, cases, method and why, cost of its features, steps expected, when it ends. A method
    whose features would take more than a quarter of the budget, or do not fit the disk, is not chosen. `budget.seconds`
    (600 by default) is the time of both trainings together. Cases in imagesTs/ are predicted with the final model.

    Examples:

        dimlift run Task04_Hippocampus --plan

        dimlift run Task04_Hippocampus budget.seconds=300 --out run

        dimlift run scans_by_class --out run

        dimlift run cohort arm.method=unet budget.seconds=3600 training.device=cuda --out run
    """
    from dimlift.cli.progress_bars import ProgressBars
    from dimlift.cli.tables import print_plan, print_record
    from dimlift.studies.run_dataset import run_dataset
    from dimlift.studies.run_plan import plan_run
    from dimlift.training.log_file import LogFile

    with ProgressBars() as bars:
        plan = plan_run(dataset, to, all_overrides(overrides, deterministic), bars)
    print_plan(plan.facts)
    if plan_only:
        return
    to.mkdir(parents=True, exist_ok=True)
    with ProgressBars() as bars:
        result = run_dataset(plan, to, LogFile(to / "log.txt", bars))
    print_record(result.validation)
    out.print(f"page: {result.page}    model: {to}    log: {to / 'log.txt'}", soft_wrap=True)
    for path in result.predictions[:3]:
        out.print(f"predicted: {path}", soft_wrap=True)
    if len(result.predictions) > 3:
        out.print(f"... {len(result.predictions)} in all", soft_wrap=True)
    out.print(f"next: dimlift predict {to} NEW_CASES OUTPUT", soft_wrap=True, markup=False)
    out.print(
        f"      dimlift compare {dataset} --out study    # does 2D pretraining help here?", soft_wrap=True, markup=False
    )
