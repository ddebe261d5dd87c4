"""Arguments and options that mean the same in several commands."""

from typing import Annotated

import typer

Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Keys that win over the file.")]

Deterministic = Annotated[
    bool, typer.Option("--deterministic", help="Deterministic kernels only, or an error: training.deterministic.")
]

Resume = Annotated[bool, typer.Option("--resume", help="Only go on with what is in the folder; refuse to begin anew.")]

Log = Annotated[
    list[str] | None,
    typer.Option("--log", help="Learning curves into OUT/curves: csv, tensorboard, wandb or mlflow; repeatable."),
]


def all_overrides(overrides: list[str] | None, deterministic: bool) -> list[str]:
    """What was typed, and what `--deterministic` stands for."""
    return [*(overrides or []), *(["training.deterministic=true"] if deterministic else [])]
