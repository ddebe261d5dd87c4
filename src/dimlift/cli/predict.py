"""`dimlift predict`: segmentations of new images, on the images' own grids."""

from pathlib import Path
from typing import Annotated

import typer

from dimlift.cli.console import out


def predict(
    run: Annotated[Path, typer.Argument(help="Folder of `dimlift train`, or a weights folder.")],
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Images, or folders of images.")],
    output: Annotated[Path, typer.Argument(help="A NIfTI file for one image, a folder for several.")],
) -> None:
    """Segment images; every output has exactly the shape and affine of its image.

    Examples:

        dimlift predict run scan.nii.gz scan_labels.nii.gz

        dimlift predict run imagesTs predictions
    """
    from dimlift.cli.bars import Bars
    from dimlift.experiments.predict import predict as run_prediction

    with Bars() as bars:
        written = run_prediction(run, inputs, output, progress=bars)
    for path in written:
        out.print(path, soft_wrap=True)
