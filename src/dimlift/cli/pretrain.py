"""`dimlift pretrain`: pretrain a network without labels."""

from pathlib import Path
from typing import Annotated

import typer

from dimlift.cli.console import out
from dimlift.cli.options import Overrides


def pretrain(
    method: Annotated[str, typer.Argument(help="Pretraining method: `slice_distillation`, ... (docs/methods.md).")],
    source: Annotated[Path, typer.Argument(metavar="CONFIG", help="Configuration (.yaml): arm, data, budget.")],
    overrides: Overrides = None,
    to: Annotated[Path, typer.Option("--out", help="Folder of the run; an interrupted run is resumed.")] = Path(
        "pretrained"
    ),
    skip_corrupt: Annotated[
        bool,
        typer.Option(
            "--skip-corrupt",
            help="Leave out RGB-D frames and point clouds that cannot be read; the record counts them.",
        ),
    ] = False,
) -> None:
    """Pretrain a network without labels. `train` and `compare` use the result with `arm.init_from=OUT/weights`.

    Examples:

        dimlift pretrain slice_distillation examples/pretrain.yaml dataset.path=unlabelled --out pretrained

        dimlift train examples/train.yaml dataset.path=labelled arm.init_from=pretrained/weights --out run

        dimlift pretrain ppkt examples/ppkt.yaml frames.path=recording --out pretrained
    """
    from dimlift.cli.progress_bars import ProgressBars
    from dimlift.studies.load_config import load_config
    from dimlift.studies.pretrain import pretrain as run_pretraining
    from dimlift.studies.pretrain_config import PretrainConfig

    config = load_config(source, [f"pretraining.method={method}", *(overrides or [])], PretrainConfig)
    if skip_corrupt:
        config = config.skipping_corrupt()
    with ProgressBars() as bars:
        record = run_pretraining(config, to, progress=bars)
    out.print(f"{record.steps} steps in {record.seconds:.0f} s; set arm.init_from={to / 'weights'}", soft_wrap=True)
