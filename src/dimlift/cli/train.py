"""`dimlift train`: one network, trained on one data set."""

from pathlib import Path
from typing import Annotated

import typer

from dimlift.cli.console import out


def train(
    source: Annotated[Path, typer.Argument(help="A configuration (.yaml), or a data set to train on with the defaults.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Keys that win over the file.")] = None,
    to: Annotated[Path, typer.Option("--out", help="Folder of the run; started again, it goes on from the last checkpoint.")] = Path("run"),
) -> None:
    """Train one network and score it on the cases of the split it has not seen.

    Examples:

        dimlift train Task04_Hippocampus budget.seconds=600 --out run

        dimlift train config.yaml arm.method=lifted training.batch_size=4 seed=1 --out run-1
    """
    from dimlift.cli.bars import Bars
    from dimlift.experiments.train import train as run_training

    with Bars() as bars:
        record = run_training(config, to, progress=bars)
    out.print(f"weights in {to}")
