"""`dimlift project-features`: project features of a frozen 2D network onto the points of a point cloud."""

from pathlib import Path
from typing import Annotated

import typer

from dimlift.cli.console import out as console


def project_features(
    points: Annotated[Path, typer.Argument(help="Point cloud: .ply, .npy, .npz, .xyz, .off, .pcd, .las or .laz.")],
    images: Annotated[Path | None, typer.Option(help="Folder of images of one camera.")] = None,
    poses: Annotated[
        Path | None,
        typer.Option(
            help="Camera-to-world pose of each image: lines of `NAME x y z qx qy qz qw`, a Redwood .log, or a folder "
            "of 4 x 4 text files."
        ),
    ] = None,
    intrinsics: Annotated[
        str | None,
        typer.Option(metavar="FX,FY,CX,CY|FILE", help="Intrinsics of the images, in pixels; pixel centres at +0.5."),
    ] = None,
    frames: Annotated[Path | None, typer.Option(help="RGB-D recording, instead of the previous three.")] = None,
    network: Annotated[str, typer.Option("--network", help="2D network, `SOURCE:NAME`.")] = (
        "packaged:efficientnet_lite0"
    ),
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Load the published weights, if they are on this machine.")
    ] = False,
    weights: Annotated[Path | None, typer.Option(help="Weights file of the 2D network.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Allow downloading the published weights.")] = False,
    upsample: Annotated[float, typer.Option(min=0.1, help="Enlarge images by this factor for finer features.")] = 1.0,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Fraction of its depth by which a point may lie behind the nearest surface.")
    ] = 0.05,
    occlusion_cell: Annotated[
        int, typer.Option(min=1, help="Pixels of the cells in which occlusion is decided; larger for sparse points.")
    ] = 4,
    cache: Annotated[Path | None, typer.Option(help="Folder for feature maps; OUT.cache by default.")] = None,
    skip_corrupt: Annotated[
        bool, typer.Option("--skip-corrupt", help="Leave out RGB-D frames that cannot be read; OUT.json counts them.")
    ] = False,
    columns: Annotated[
        str, typer.Option(help="Names of the columns of a point cloud whose file does not name them: 'x y z r g b'.")
    ] = "",
    to: Annotated[Path, typer.Option("--out", help="An .npz file; .ply, .png and .json of the same name.")] = Path(
        "projected.npz"
    ),
) -> None:
    """Project the features of a frozen 2D network onto the points shown in images. Nothing is trained.

    Examples:

        dimlift project-features scan.ply --images rgb --poses poses.txt --intrinsics 525,525,320,240

        dimlift project-features scan.ply --frames recording --network timm:vit_small_patch14_dinov2 --pretrained
    """
    from dimlift.cli.progress_bars import ProgressBars
    from dimlift.inference.project_features import project_features_to_file

    with ProgressBars() as bars:
        facts = project_features_to_file(
            points,
            to,
            images=images,
            poses=poses,
            intrinsics=intrinsics,
            frames=frames,
            network=network,
            pretrained=pretrained or None,
            weights=weights,
            download=download,
            upsample=upsample,
            tolerance=tolerance,
            occlusion_cell=occlusion_cell,
            cache=cache,
            skip_corrupt=skip_corrupt,
            columns=columns.split(),
            progress=bars,
        )
    console.print(
        f"{facts['channels']} features for {facts['visible']} of {facts['points']} points from {facts['views']} "
        f"images: {to}, {to.with_suffix('.ply')}, {to.with_suffix('.png')}",
        soft_wrap=True,
    )
