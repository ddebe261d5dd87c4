"""`dimlift probe`: how much of an answer lies in embeddings, or in a network of points."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dimlift.cli.console import out


def probe(
    embeddings: Annotated[Path, typer.Argument(help="A file of `dimlift embed`, or a weights folder of points.")],
    labels: Annotated[
        Path | None, typer.Option(help="CSV with the columns name, label and patient; else the data set's own.")
    ] = None,
    label: Annotated[str, typer.Option(help="Column of the label.")] = "label",
    group: Annotated[str, typer.Option(help="Column of the patient; never on both sides of a fold.")] = "group",
    task: Annotated[str, typer.Option(help="classification or regression.")] = "classification",
    folds: Annotated[int, typer.Option(help="Parts of the cross-validation.", min=2)] = 5,
    seed: Annotated[int, typer.Option(help="Draws the folds and the bootstrap.")] = 0,
    clouds: Annotated[
        Path | None, typer.Option(help="Labelled clouds, for a weights folder of points: a folder, a CSV or an .npz.")
    ] = None,
    test: Annotated[
        Path | None, typer.Option(help="Clouds to test on, once, all of --clouds being learnt from.")
    ] = None,
    penalty: Annotated[float, typer.Option(help="C of svm_published; 0.018 on ScanObjectNN.", min=1e-9)] = 0.0093,
    protocol: Annotated[str, typer.Option(help="Clouds: svm, svm_published, few_shot or fine_tune.")] = "svm",
    repeats: Annotated[int, typer.Option(help="Clouds: draws of training and test clouds.", min=1)] = 10,
    points: Annotated[int, typer.Option(help="Clouds: points of each.", min=8)] = 1024,
    ways: Annotated[int, typer.Option(help="Few shots: classes.", min=2)] = 5,
    shots: Annotated[int, typer.Option(help="Few shots: training clouds of each class.", min=1)] = 10,
    steps: Annotated[int, typer.Option(help="Fine-tuning: steps.", min=1)] = 300,
) -> None:
    """A linear probe and nearest neighbours on embeddings, cross-validated by patient, with an interval.

    Example:

        dimlift probe emb.npz --labels y.csv --group patient

        dimlift probe pretrained/weights --clouds shapes --protocol few_shot
    """
    if clouds is not None:
        options = {"repeats": repeats, "points": points, "ways": ways, "shots": shots, "steps": steps, "seed": seed}
        _probe_clouds(embeddings, clouds, protocol, test=test, penalty=penalty, **options)
        return
    from dimlift.errors import UnknownName
    from dimlift.evaluation.linear_probe import probe as run_probe
    from dimlift.records.embeddings import Embeddings

    if task not in ("classification", "regression"):
        raise UnknownName("task", task, ("classification", "regression"))
    found = run_probe(
        Embeddings.load(embeddings), labels, column=label, group=group, task=task, folds=folds, seed=seed  # type: ignore[arg-type]
    )  # fmt: skip
    for each in found.findings:
        spread = "" if each.interval is None else f" ({each.interval[0]:.3f} to {each.interval[1]:.3f})"
        out.print(f"{each.probe:<11}{each.metric} {each.value:.3f}{spread}", markup=False)
    out.print(
        f"{found.cases} volumes of {found.patients} patients, {found.folds} folds by patient; in brackets the 95 % "
        "interval of a bootstrap over patients, predictions as they are",
        soft_wrap=True,
    )


def _probe_clouds(weights: Path, clouds: Path, protocol: str, **options: Any) -> None:
    """Print what a network of points knows, beside the same network with random weights."""
    from dimlift.cli.progress_bars import Bars
    from dimlift.errors import UnknownName
    from dimlift.evaluation.point_probe import PROTOCOLS, probe_points

    if protocol not in PROTOCOLS:
        raise UnknownName("protocol", protocol, PROTOCOLS)
    with Bars() as bars:
        found = probe_points(weights, clouds, protocol, **options, progress=bars)
    interval, (gain, reach) = found.interval(), found.gain()
    spread = "" if interval is None else f" ({interval[0]:.3f} to {interval[1]:.3f})"
    gained = "" if reach is None else f" ({reach[0]:+.3f} to {reach[1]:+.3f})"
    out.print(f"{protocol}: accuracy {found.mean:.3f}{spread}; beside random weights {gain:+.3f}{gained}", markup=False)
    drawn = f"{found.clouds} clouds, {len(found.values)} draws of training and test clouds"
    about = "of the mean, corrected for clouds that draws share"
    if found.tested:
        drawn = f"{found.clouds - found.tested} clouds learnt from, {found.tested} tested, once"
        about = "over test clouds"
    seen = f"; {found.seen} of them were pretrained on, without labels" if found.seen else ""
    out.print(f"{drawn}{seen}; in brackets the 95 % interval {about}", soft_wrap=True)
