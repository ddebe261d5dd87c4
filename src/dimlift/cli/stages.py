"""`dimlift stages`: stages of pretraining in a row, and what each adds."""

from pathlib import Path
from typing import Annotated

import typer

from dimlift.cli.console import out
from dimlift.cli.options import Overrides


def stages(
    source: Annotated[Path, typer.Argument(metavar="CONFIG", help="A configuration (.yaml): student, data, stages.")],
    overrides: Overrides = None,
    to: Annotated[Path, typer.Option("--out", help="Folder of the run; an interrupted run goes on.")] = Path("staged"),
) -> None:
    """Lift, learn lesions, then rounds of pseudo-labels, with classes beside them if there are any.

    Examples:

        dimlift stages examples/stages.yaml --out staged

        dimlift train examples/train.yaml dataset.path=labelled arm.start=staged/weights --out run
    """
    from rich.table import Table

    from dimlift.cli.progress_bars import Bars
    from dimlift.studies.load_config import load_config
    from dimlift.studies.self_training.config import StagesConfig
    from dimlift.studies.self_training.run import run_stages

    config = load_config(source, overrides or [], StagesConfig)
    with Bars() as bars:
        rows = run_stages(config, to, progress=bars)
    table = Table("stage", "round", "Dice", "adds", "kept", "training s")
    before = None
    for row in rows:
        adds = "" if row.dice is None or before is None else f"{row.dice - before:+.4f}"
        dice = "-" if row.dice is None else f"{row.dice:.4f}"
        table.add_row(row.stage, str(row.round or ""), dice, adds, "yes" if row.kept else "no", f"{row.seconds:.0f}")
        before = row.dice if row.kept or before is None else before
    out.print(table)
    for row in rows:
        if row.note:
            out.print(f"{row.stage}: {row.note}", markup=False, soft_wrap=True)
    out.print(f"start an arm from {to / 'weights'}", soft_wrap=True)
