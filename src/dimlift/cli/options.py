"""Arguments and options shared by several commands."""

from typing import Annotated

import typer

Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Keys that take precedence over the file.")
]

Deterministic = Annotated[
    bool,
    typer.Option("--deterministic", help="Use deterministic kernels, or fail: sets training.deterministic."),
]

Resume = Annotated[bool, typer.Option("--resume", help="Resume the run in the folder; fail if there is none.")]

Log = Annotated[
    list[str] | None,
    typer.Option("--log", help="Write training curves to OUT/curves: csv, tensorboard, wandb or mlflow; repeatable."),
]


def all_overrides(overrides: list[str] | None, deterministic: bool) -> list[str]:
    """Return the overrides of a command, including that of `--deterministic`."""
    return [*(overrides or []), *(["training.deterministic=true"] if deterministic else [])]
