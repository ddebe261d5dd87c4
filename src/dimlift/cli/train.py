"""`dimlift train`: train one network on one dataset."""

from pathlib import Path
from typing import Annotated

import typer

from dimlift.cli.console import out
from dimlift.cli.options import Deterministic, Log, Overrides, Resume, all_overrides


def train(
    source: Annotated[
        Path, typer.Argument(help="A configuration (.yaml), or a dataset to train on with the default configuration.")
    ],
    overrides: Overrides = None,
    to: Annotated[
        Path, typer.Option("--out", help="Folder of the run; repeating the command resumes an interrupted run.")
    ] = Path("run"),
    deterministic: Deterministic = False,
    resume: Resume = False,
    log: Log = None,
) -> None:
    """Train one network and score it on the test cases.

    Defaults for a dataset: ten minutes, a fifth of the groups as test cases. The layout and the task are those that
    `dimlift check` prints. Masks: a 3D U-Net with frozen 2D features. A class or number per volume: a frozen 2D network
    on every slice. Point clouds: a sparse U-Net, for classes per point or per point cloud.

    Examples:

        dimlift train Task04_Hippocampus budget.seconds=120 --out run

        dimlift train examples/train.yaml dataset.path=Task04_Hippocampus seed=1 train_count=8 --out run-1

        dimlift train scans point_clouds.normalise=centre 'point_clouds.features=\\[colours]' --out run

        dimlift train Task04_Hippocampus --log csv --log tensorboard --out run-2

        torchrun --standalone --nproc-per-node 8 --no-python dimlift train train.yaml training.batch_size=16 --out run
    """
    from dimlift.cli.progress_bars import ProgressBars
    from dimlift.cli.tables import print_record
    from dimlift.studies.defaults import train_config
    from dimlift.studies.run_folder import require_existing_run
    from dimlift.studies.train import train as run_training
    from dimlift.training.distributed import current_group
    from dimlift.training.loggers import Loggers

    overrides = all_overrides(overrides, deterministic)
    if resume:
        require_existing_run(to)
    config = train_config(source, overrides)
    is_main = current_group().is_main
    with ProgressBars() as bars, Loggers((log or ()) if is_main else (), to / "curves", bars) as loggers:
        record = run_training(config, to, progress=loggers)
        if not is_main:
            return
        loggers.log_scores(record)
    print_record(record)
    out.print(f"weights: {to / 'weights'}    predictions: {to / 'predictions'}", soft_wrap=True)
