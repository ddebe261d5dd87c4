"""`dimlift evaluate`: score label maps of any program against reference label maps."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dimlift.cli.console import out


def evaluate(
    predictions: Annotated[Path, typer.Argument(help="A label map, or a folder of label maps.")],
    reference: Annotated[Path, typer.Argument(help="Its reference, or a folder with files of the same names.")],
    label: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE, once per label; by default every value of the reference but 0."),
    ] = None,
    ignore: Annotated[
        int | None, typer.Option(help="Value of the reference at voxels without annotation; not scored.")
    ] = None,
    tolerance: Annotated[float, typer.Option(help="Tolerance of the normalised surface dice, in mm.", min=0)] = 1.0,
    lesions: Annotated[bool, typer.Option(help="Also count lesions: connected components of each label.")] = False,
    scores_to: Annotated[
        Path | None, typer.Option("--out", help="CSV of the scores of every case; refused if it exists.")
    ] = None,
) -> None:
    """Dice, surface distances and their intervals over cases, for label maps of any program.

    Examples:

        dimlift evaluate run/predictions labelsTs --label anterior=1 --label posterior=2

        dimlift evaluate nnunet_output labelsTs --out scores.csv
    """
    from rich.table import Table

    from dimlift.cli.progress_bars import ProgressBars
    from dimlift.errors import ConfigError
    from dimlift.evaluation.compare_label_maps import class_means, compare_label_maps
    from dimlift.records.atomic_write import atomic_write
    from dimlift.records.csv_text import to_csv

    if scores_to is not None and scores_to.exists():
        raise ConfigError(f"{scores_to} exists; delete it, or choose another file")
    labels = dict(map(_parse_label, label)) if label else None
    with ProgressBars() as bars:
        scores = compare_label_maps(
            predictions,
            reference,
            labels=labels,
            ignore=ignore,
            tolerance_mm=tolerance,
            lesions=lesions,
            progress=bars,
        )
    table = Table("class", "metric", "mean", "95 % interval", "cases")
    for mean in class_means(scores):
        interval = "-" if mean.interval is None else f"{mean.interval[0]:.3f} to {mean.interval[1]:.3f}"
        value = "-" if mean.mean is None else f"{mean.mean:.3f}"
        table.add_row(mean.class_, mean.metric, value, interval, str(mean.cases))
    out.print(table)
    out.print("intervals: bootstrap over cases, for these predictions; cases: those in which the metric is defined")
    if scores_to is not None:
        rows: list[list[Any]] = [
            ["case", "class", "metric", "value"],
            *([s.case, s.class_, s.metric, s.value] for s in scores),
        ]
        with atomic_write(scores_to) as scratch:
            scratch.write_text(to_csv(rows), encoding="utf-8")
        out.print(str(scores_to), soft_wrap=True)


def _parse_label(text: str) -> tuple[str, int]:
    from dimlift.errors import ConfigError

    name, _, value = text.partition("=")
    if not name or not value.lstrip("-").isdigit():
        raise ConfigError(f"--label {text} is not NAME=VALUE; write for example --label tumour=2")
    return name, int(value)
