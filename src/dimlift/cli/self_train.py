"""`dimlift self-train`: segmentation with rounds of pseudo-labels."""

from pathlib import Path
from typing import Annotated

import typer

from dimlift.cli.console import out
from dimlift.cli.options import Overrides


def self_train_command(
    source: Annotated[Path, typer.Argument(metavar="CONFIG", help="A configuration (.yaml): arm, datasets, stages.")],
    overrides: Overrides = None,
    to: Annotated[
        Path, typer.Option("--out", help="Folder of the run; repeating the command resumes an interrupted run.")
    ] = Path("self_training"),
) -> None:
    """Train on labels, then in rounds on pseudo-labels of further volumes, with classification labels if there are any.

    Examples:

        dimlift self-train examples/self_train.yaml --out staged

        dimlift train examples/train.yaml dataset.path=labelled arm.init_from=staged/weights --out run
    """
    from rich.table import Table

    from dimlift.cli.progress_bars import ProgressBars
    from dimlift.studies.load_config import load_config
    from dimlift.studies.self_training.config import SelfTrainingConfig
    from dimlift.studies.self_training.run import self_train

    config = load_config(source, overrides or [], SelfTrainingConfig)
    with ProgressBars() as bars:
        results = self_train(config, to, progress=bars)
    table = Table("stage", "round", "Dice", "change", "kept", "training s")
    previous = None
    for result in results:
        change = "" if result.dice is None or previous is None else f"{result.dice - previous:+.4f}"
        dice = "-" if result.dice is None else f"{result.dice:.4f}"
        kept = "yes" if result.kept else "no"
        table.add_row(result.stage, str(result.round or ""), dice, change, kept, f"{result.seconds:.0f}")
        previous = result.dice if result.kept or previous is None else previous
    out.print(table)
    for result in results:
        if result.note:
            out.print(f"{result.stage}: {result.note}", markup=False, soft_wrap=True)
    out.print(f"initialise an arm from {to / 'weights'}", soft_wrap=True)
