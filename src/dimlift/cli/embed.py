"""`dimlift embed`: volumes to vectors with a frozen 2D network, no training."""

from pathlib import Path
from typing import Annotated

import typer

from dimlift.cli.console import out

PLANES = {1: ("depth",), 3: ("depth", "height", "width")}


def embed(
    dataset: Annotated[Path, typer.Argument(help="Folder or CSV with volumes; masks are not read.")],
    to: Annotated[Path, typer.Option("--out", help="The .npz file.")] = Path("emb.npz"),
    net: Annotated[str, typer.Option(help="Frozen 2D network, SOURCE:NAME.")] = "packaged:efficientnet_lite0",
    weights: Annotated[Path | None, typer.Option(help="A weights file of the network, instead of its own.")] = None,
    planes: Annotated[int, typer.Option(help="1: slices across depth; 3: across all axes.", min=1, max=3)] = 3,
    pool: Annotated[str, typer.Option(help="mean, max or both: over slices and places.")] = "mean",
    grid: Annotated[int, typer.Option(help="Places kept along both axes of a plane; 1 keeps none.", min=1)] = 1,
    project: Annotated[int, typer.Option(help="Width of the random projection of each map's channels.", min=1)] = 128,
    enlarge: Annotated[float, typer.Option(help="Slices are made isotropic and enlarged so many times.")] = 3.0,
    seed: Annotated[int, typer.Option(help="Of the random projection.")] = 0,
    cache: Annotated[Path | None, typer.Option(help="Folder for maps: an interrupted run goes on.")] = None,
) -> None:
    """Volumes to vectors: a frozen network over their planes, random projection, pooling. Nothing is trained.

    Examples:

        dimlift embed table.csv --planes 3 --out emb.npz

        dimlift probe emb.npz --labels y.csv --group patient
    """
    from dimlift.cli.progress_bars import Bars
    from dimlift.errors import ConfigError
    from dimlift.inference.embed import embed as run_embedding
    from dimlift.methods.frozen_features.settings import BorrowSettings

    if planes not in PLANES:
        raise ConfigError(f"--planes is {planes}; 1 (across depth) or 3 (across all axes) is wanted")
    settings = BorrowSettings(
        network=net,
        planes=PLANES[planes],  # type: ignore[arg-type]
        enlarge=enlarge,
        cache_channels=project,
        seed=seed,
        weights=None if weights is None else str(weights),
    )
    with Bars() as bars:
        found = run_embedding(dataset, settings, to, pooling=pool, grid=grid, cache=cache, progress=bars)  # type: ignore[arg-type]
    out.print(f"{len(found.names)} volumes, {found.vectors.shape[1]} numbers each: {to}", soft_wrap=True)
