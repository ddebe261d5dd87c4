"""`dimlift predict`: segmentations of new images on their own grids, labels of new points in their own order."""

from pathlib import Path
from typing import Annotated

import typer

from dimlift.cli.console import out


def predict(
    run: Annotated[Path, typer.Argument(help="Folder of `dimlift train`, or a weights folder.")],
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Images, DICOM series, clouds, or folders.")],
    output: Annotated[Path, typer.Argument(help="A file for one image or cloud, a folder for several.")],
    kind: Annotated[
        str | None,
        typer.Option(
            "--format", help="nifti, nrrd, mha, dicom-seg, rtstruct; of clouds ply, npz; else the input's own."
        ),
    ] = None,
    also: Annotated[
        list[Path] | None, typer.Option("--also", help="Another run (repeat it): probabilities are averaged.")
    ] = None,
    max_memory: Annotated[
        str | None, typer.Option("--max-memory", metavar="SIZE", help="Refuse to start if it takes more, as in 3GiB.")
    ] = None,
) -> None:
    """Segment images; every output has exactly the shape and affine of its image, or the points of its cloud.

    Examples:

        dimlift predict run scan.nii.gz scan_labels.nii.gz

        dimlift predict run imagesTs predictions --max-memory 3GiB

        dimlift predict fold0 imagesTs predictions --also fold1 --also fold2

        dimlift predict run series_folder contours --format rtstruct

        dimlift predict run scan.ply labelled.ply
    """
    from dimlift.cli.progress_bars import Bars
    from dimlift.inference.predict_files import predict as run_prediction
    from dimlift.training.memory import bytes_of

    limit = None if max_memory is None else bytes_of(max_memory)
    with Bars() as bars:
        written = run_prediction([run, *(also or [])], inputs, output, progress=bars, max_memory=limit, kind=kind)
    for path in written:
        out.print(path, soft_wrap=True)
