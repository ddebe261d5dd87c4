"""`dimlift embed`: cases to vectors with a frozen network, without training."""

from pathlib import Path
from typing import Annotated

import typer

from dimlift.cli.console import exit_after_skipping, out

PLANES = {1: ("depth",), 3: ("depth", "height", "width")}


def embed(
    dataset: Annotated[Path, typer.Argument(help="Volumes (a folder or CSV; masks are not read), or point clouds.")],
    to: Annotated[Path, typer.Option("--out", help="The .npz file.")] = Path("emb.npz"),
    network: Annotated[
        str, typer.Option("--network", help="Volumes: frozen 2D network, SOURCE:NAME.")
    ] = "packaged:efficientnet_lite0",
    weights: Annotated[
        Path | None,
        typer.Option(help="Volumes: weights file of the network. Point clouds: weights folder of `dimlift pretrain`."),
    ] = None,
    planes: Annotated[int, typer.Option(help="1: slices along depth; 3: along all axes.", min=1, max=3)] = 3,
    pool: Annotated[str, typer.Option(help="mean, max or both: over slices and positions, or over points.")] = "mean",
    grid: Annotated[int, typer.Option(help="Positions kept along both axes of a plane.", min=1)] = 1,
    project: Annotated[int, typer.Option(help="Width of the random projection of each map's channels.", min=1)] = 128,
    upsample: Annotated[float, typer.Option(help="Factor by which isotropic slices are upsampled.")] = 3.0,
    num_points: Annotated[int, typer.Option(help="Points sampled from each point cloud.", min=8)] = 1024,
    seed: Annotated[int, typer.Option(help="Seed of the random projection.")] = 0,
    columns: Annotated[
        str, typer.Option(help="Names of the columns of point clouds whose files do not name them: 'x y z r g b'.")
    ] = "",
    cache: Annotated[Path | None, typer.Option(help="Folder for feature maps: an interrupted run resumes.")] = None,
    skip_corrupt: Annotated[
        bool,
        typer.Option(
            "--skip-corrupt", help="Leave out cases that cannot be read, list them at the end, and exit with code 3."
        ),
    ] = False,
) -> None:
    """Cases to vectors. Volumes: a frozen 2D network over slices, random projection, pooling. Point clouds: an encoder.

    Examples:

        dimlift embed table.csv --planes 3 --out emb.npz

        dimlift embed shapes --weights pretrained/weights --pool both --out emb.npz

        dimlift probe emb.npz --labels y.csv --group patient
    """
    from dimlift.cli.progress_bars import ProgressBars
    from dimlift.data.datasets.point_cloud_index import is_point_cloud_dataset
    from dimlift.errors import ConfigError
    from dimlift.inference.embed import Embedder, PointCloudEmbedder, VolumeEmbedder
    from dimlift.inference.embed import embed as run_embedding
    from dimlift.methods.frozen_features.settings import FeatureExtractionSettings

    embedder: Embedder
    if is_point_cloud_dataset(dataset):
        if weights is None:
            raise ConfigError("point clouds need --weights: the weights folder of a point encoder (`dimlift pretrain`)")
        embedder = PointCloudEmbedder(weights, num_points, pool, tuple(columns.split()))  # type: ignore[arg-type]
    elif planes not in PLANES:
        raise ConfigError(f"--planes is {planes}; expected 1 (along depth) or 3 (along all axes)")
    else:
        settings = FeatureExtractionSettings(
            network=network,
            planes=PLANES[planes],  # type: ignore[arg-type]
            upsample=upsample,
            cache_channels=project,
            seed=seed,
            weights=None if weights is None else str(weights),
        )
        embedder = VolumeEmbedder(settings, pool, grid, cache)  # type: ignore[arg-type]
    skipped: list[str] = []
    on_skip = (lambda issue: skipped.append(str(issue))) if skip_corrupt else None
    with ProgressBars() as bars:
        found = run_embedding(dataset, embedder, to, progress=bars, on_skip=on_skip)
    out.print(f"{len(found.names)} cases, {found.vectors.shape[1]} numbers each: {to}", soft_wrap=True)
    exit_after_skipping(skipped)
