"""`dimlift predict`: labels of new volumes on their own grids, labels of new points in the order of their files."""

from pathlib import Path
from typing import Annotated

import typer

from dimlift.cli.console import exit_after_skipping, out


def predict(
    run: Annotated[Path, typer.Argument(help="Folder of `dimlift train`, or a weights folder.")],
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="Volumes, DICOM series, point clouds, or folders.")
    ],
    output: Annotated[Path, typer.Argument(help="A file for one case, a folder for several.")],
    output_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="nifti, nrrd, mha, dicom-seg, rtstruct; of point clouds ply, npz; by default that of the input.",
        ),
    ] = None,
    ensemble: Annotated[
        list[Path] | None, typer.Option("--ensemble", help="Another run (repeatable): probabilities are averaged.")
    ] = None,
    max_memory: Annotated[
        str | None, typer.Option("--max-memory", metavar="SIZE", help="Refuse to start above this, such as 3GiB.")
    ] = None,
    keep_largest: Annotated[
        list[str] | None,
        typer.Option(
            "--keep-largest", metavar="LABEL", help="Keep the largest connected component of a label (repeatable)."
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Refuse cases outside the range of the training cases (intensities, spacing, extent, orientation, "
            "predicted volumes) instead of a warning.",
        ),
    ] = False,
    skip_corrupt: Annotated[
        bool,
        typer.Option(
            "--skip-corrupt", help="Leave out cases that cannot be used, list them at the end, and exit with code 3."
        ),
    ] = False,
) -> None:
    """Predict files; labels have the shape and affine of their volume, or the points of their point cloud.

    A JSON beside each output holds version, SHA-256 of the weights, warnings and coverage.

    Examples:

        dimlift predict run scan.nii.gz scan_labels.nii.gz

        dimlift predict run imagesTs predictions --max-memory 3GiB

        dimlift predict fold0 imagesTs predictions --ensemble fold1 --ensemble fold2

        dimlift predict run series_folder contours --format rtstruct

        dimlift predict run scan.ply labelled.ply

        dimlift predict run imagesTs predictions --keep-largest liver --keep-largest spleen

        dimlift predict run imagesTs predictions --strict --skip-corrupt
    """
    from dimlift.cli.progress_bars import ProgressBars
    from dimlift.inference.predict_files import predict as run_prediction
    from dimlift.training.memory import parse_bytes

    limit = None if max_memory is None else parse_bytes(max_memory)
    runs, skipped = [run, *(ensemble or [])], list[str]()
    with ProgressBars() as bars:
        written = run_prediction(
            runs,
            inputs,
            output,
            progress=bars,
            max_memory=limit,
            output_format=output_format,
            strict=strict,
            keep_largest=keep_largest or (),
            on_skip=(lambda issue: skipped.append(str(issue))) if skip_corrupt else None,
        )
    for path in written:
        out.print(path, soft_wrap=True)
    exit_after_skipping(skipped)
