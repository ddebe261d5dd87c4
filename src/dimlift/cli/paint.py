"""`dimlift paint`: features of a frozen 2D network on the points of a cloud."""

from pathlib import Path
from typing import Annotated

import typer

from dimlift.cli.console import out as console


def paint(
    cloud: Annotated[Path, typer.Argument(help="Points: .ply, .npy, .npz, .xyz, .off, .pcd, .las or .laz.")],
    images: Annotated[Path | None, typer.Option(help="Folder of pictures of one camera.")] = None,
    poses: Annotated[
        Path | None,
        typer.Option(
            help="Camera-to-world of each picture: lines of `NAME x y z qx qy qz qw`, a Redwood .log, or a folder of "
            "4 x 4 text files."
        ),
    ] = None,
    intrinsics: Annotated[
        str | None, typer.Option(metavar="FX,FY,CX,CY|FILE", help="Of the pictures, in pixels; centres at +0.5.")
    ] = None,
    frames: Annotated[Path | None, typer.Option(help="Instead of the three: an RGB-D recording.")] = None,
    network: Annotated[str, typer.Option("--net", help="The 2D network, `SOURCE:NAME`.")] = (
        "packaged:efficientnet_lite0"
    ),
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Use the published weights; looks on this disk only.")
    ] = False,
    weights: Annotated[Path | None, typer.Option(help="A weights file of the 2D network.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Allow fetching them.")] = False,
    enlarge: Annotated[float, typer.Option(min=0.1, help="Show pictures this much larger: finer features.")] = 1.0,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Share of its depth a point may lie behind the nearest surface.")
    ] = 0.05,
    cell: Annotated[
        int, typer.Option(min=1, help="Pixels of the cells in which points hide each other; more for sparse clouds.")
    ] = 4,
    cache: Annotated[Path | None, typer.Option(help="Folder for maps of pictures; OUT.cache if not said.")] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out RGB-D frames that cannot be read; OUT.json counts them.")
    ] = False,
    to: Annotated[Path, typer.Option("--out", help="An .npz; .ply, .png and .json are written beside it.")] = Path(
        "painted.npz"
    ),
) -> None:
    """Lay the features of a frozen 2D network onto the points its pictures show. Nothing is trained.

    Examples:

        dimlift paint scan.ply --images rgb --poses poses.txt --intrinsics 525,525,320,240 --out painted.npz

        dimlift paint scan.ply --frames recording --net timm:vit_small_patch14_dinov2 --pretrained --download
    """
    from dimlift.cli.progress_bars import Bars
    from dimlift.inference.paint_point_cloud import paint_cloud

    with Bars() as bars:
        facts = paint_cloud(
            cloud,
            to,
            images=images,
            poses=poses,
            intrinsics=intrinsics,
            frames=frames,
            network=network,
            pretrained=pretrained or None,
            weights=weights,
            download=download,
            enlarge=enlarge,
            tolerance=tolerance,
            cell=cell,
            cache=cache,
            skip_bad=skip_bad,
            progress=bars,
        )
    console.print(
        f"{facts['channels']} features on {facts['seen']} of {facts['points']} points from {facts['views']} pictures: "
        f"{to}, {to.with_suffix('.ply')}, {to.with_suffix('.png')}",
        soft_wrap=True,
    )
