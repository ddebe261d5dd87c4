"""`dimlift probe`: how well simple classifiers read labels off frozen features."""

from pathlib import Path
from typing import Annotated

import typer

from dimlift.cli.console import out


def probe(
    source: Annotated[
        Path, typer.Argument(help="A file of `dimlift embed`; with --dataset a weights folder of `dimlift pretrain`.")
    ],
    dataset: Annotated[
        Path | None, typer.Option(help="Labelled point clouds, for a weights folder: a folder, a CSV or an .npz.")
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="cross_validation, svm, svm_published, few_shot, or (of weights) fine_tune.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="CSV with the columns name, label and patient; by default the dataset's labels.")
    ] = None,
    label: Annotated[str, typer.Option(help="Column of the label.")] = "label",
    group: Annotated[
        str, typer.Option(help="Column of the patient; a patient is on one side of every split.")
    ] = "group",
    task: Annotated[str, typer.Option(help="classification or regression.")] = "classification",
    folds: Annotated[int, typer.Option(help="Folds of the cross-validation.", min=2)] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the splits and the bootstrap.")] = 0,
    test_dataset: Annotated[
        Path | None, typer.Option(help="Separate test set, predicted once; all of --dataset is training set.")
    ] = None,
    penalty: Annotated[float, typer.Option(help="C of svm_published; 0.018 on ScanObjectNN.", min=1e-9)] = 0.0093,
    repeats: Annotated[int, typer.Option(help="svm, few_shot: samples of training and test cases.", min=1)] = 10,
    num_points: Annotated[int, typer.Option(help="Points sampled from each point cloud.", min=8)] = 1024,
    ways: Annotated[int, typer.Option(help="few_shot: number of classes.", min=2)] = 5,
    shots: Annotated[int, typer.Option(help="few_shot: training cases of each class.", min=1)] = 10,
    steps: Annotated[int, typer.Option(help="fine_tune: training steps.", min=1)] = 300,
    columns: Annotated[
        str, typer.Option(help="Names of the columns of point clouds whose files do not name them: 'x y z r g b'.")
    ] = "",
) -> None:
    """Linear probe and nearest neighbours on embeddings, or protocols that compare pretrained with random weights.

    Examples:

        dimlift probe emb.npz --labels y.csv --group patient

        dimlift probe pretrained/weights --dataset shapes --protocol few_shot
    """
    from dimlift.cli.progress_bars import ProgressBars
    from dimlift.evaluation.probe import probe as run_probe

    with ProgressBars() as bars:
        found = run_probe(
            source,
            dataset,
            protocol=protocol,
            labels=labels,
            label_column=label,
            group_column=group,
            task=task,
            folds=folds,
            seed=seed,
            progress=bars,
            test_dataset=test_dataset,
            penalty=penalty,
            repeats=repeats,
            num_points=num_points,
            ways=ways,
            shots=shots,
            steps=steps,
            columns=columns.split(),
        )
    for score in found.scores:
        out.print(str(score), markup=False, soft_wrap=True)
    out.print(found.summary, markup=False, soft_wrap=True)
