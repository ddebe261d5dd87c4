"""`dimlift pretrain`: a network learns from volumes without labels, or from pictures, before an arm starts from it."""

from pathlib import Path
from typing import Annotated

import typer

from dimlift.cli.console import out
from dimlift.cli.options import Overrides


def pretrain(
    method: Annotated[str, typer.Argument(help="How: `slice_distillation`, ... (docs/methods.md).")],
    source: Annotated[Path, typer.Argument(metavar="CONFIG", help="A configuration (.yaml): student, data, budget.")],
    overrides: Overrides = None,
    to: Annotated[Path, typer.Option("--out", help="Folder of the run; an interrupted run goes on.")] = Path(
        "pretrained"
    ),
    skip_bad: Annotated[
        bool,
        typer.Option("--skip-bad", help="Leave out RGB-D frames and clouds that cannot be read; the record counts."),
    ] = False,
) -> None:
    """Teach a network without labels. `train` and `compare` start from the result: `arm.start=OUT/weights`.

    Examples:

        dimlift pretrain slice_distillation examples/pretrain.yaml volumes.path=unlabelled --out pretrained

        dimlift train examples/train.yaml dataset.path=labelled arm.start=pretrained/weights --out run

        dimlift pretrain ppkt examples/ppkt.yaml frames.path=recording --out pretrained
    """
    from dimlift.cli.progress_bars import Bars
    from dimlift.studies.load_config import load_config
    from dimlift.studies.pretrain import pretrain as run_pretraining
    from dimlift.studies.pretrain_config import PretrainConfig

    config = load_config(source, [f"pretraining.method={method}", *(overrides or [])], PretrainConfig)
    if skip_bad:
        config = config.skipping_bad()
    with Bars() as bars:
        record = run_pretraining(config, to, progress=bars)
    out.print(f"{record.steps} steps in {record.seconds:.0f} s; start an arm from {to / 'weights'}", soft_wrap=True)
