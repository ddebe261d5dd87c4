"""`dimlift train`: one network, trained on one data set."""

from pathlib import Path
from typing import Annotated

import typer

from dimlift.cli.console import out
from dimlift.cli.options import Deterministic, Log, Overrides, Resume, all_overrides


def train(
    source: Annotated[
        Path, typer.Argument(help="A configuration (.yaml), or a data set to train on with the defaults.")
    ],
    overrides: Overrides = None,
    to: Annotated[Path, typer.Option("--out", help="Folder of the run; an interrupted run goes on.")] = Path("run"),
    deterministic: Deterministic = False,
    resume: Resume = False,
    log: Log = None,
) -> None:
    """Train one network and score it on cases it has not seen.

    Given a bare data set: a 3D U-Net with borrowed 2D features, ten minutes, a fifth of the groups held out as test.
    Clouds of points are seen by themselves: a sparse U-Net, a class for each point or each cloud, as they are labelled.

    Examples:

        dimlift train Task04_Hippocampus budget.seconds=120 --out run

        dimlift train examples/train.yaml dataset.path=Task04_Hippocampus seed=1 --out run-1

        dimlift train scans clouds.frame=file arm.voxel=0.05 'clouds.features=[colours]' --out run

        dimlift train Task04_Hippocampus --log csv --log tensorboard --out run-2

        torchrun --standalone --nproc-per-node 8 --no-python dimlift train train.yaml training.batch_size=16 --out run
    """
    from dimlift.cli.progress_bars import Bars
    from dimlift.cli.tables import show_record
    from dimlift.studies.defaults import train_config
    from dimlift.studies.run_folder import require_begun
    from dimlift.studies.train import train as run_training
    from dimlift.training.distributed import team
    from dimlift.training.loggers import Curves

    overrides = all_overrides(overrides, deterministic)
    if resume:
        require_begun(to)
    config = train_config(source, overrides)
    leads = team().leads
    with Bars() as bars, Curves((log or ()) if leads else (), to / "curves", bars) as curves:
        record = run_training(config, to, progress=curves)
        if not leads:
            return
        curves.scored(record)
    show_record(record)
    out.print(f"weights: {to / 'weights'}    predictions: {to / 'predictions'}", soft_wrap=True)
