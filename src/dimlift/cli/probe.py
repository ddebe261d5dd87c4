"""`dimlift probe`: how much of an answer lies in embeddings."""

from pathlib import Path
from typing import Annotated

import typer

from dimlift.cli.console import out


def probe(
    embeddings: Annotated[Path, typer.Argument(help="A file of `dimlift embed`.")],
    labels: Annotated[
        Path | None, typer.Option(help="CSV with the columns name, label and patient; else the data set's own.")
    ] = None,
    label: Annotated[str, typer.Option(help="Column of the label.")] = "label",
    group: Annotated[str, typer.Option(help="Column of the patient; never on both sides of a fold.")] = "group",
    task: Annotated[str, typer.Option(help="classification or regression.")] = "classification",
    folds: Annotated[int, typer.Option(help="Parts of the cross-validation.", min=2)] = 5,
    seed: Annotated[int, typer.Option(help="Draws the folds and the bootstrap.")] = 0,
) -> None:
    """A linear probe and nearest neighbours on embeddings, cross-validated by patient, with an interval.

    Example:

        dimlift probe emb.npz --labels y.csv --group patient
    """
    from dimlift.errors import UnknownName
    from dimlift.experiments.probe import probe as run_probe
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
