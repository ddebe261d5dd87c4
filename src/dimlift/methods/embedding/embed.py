"""One vector for a volume from a frozen 2D network over its planes; nothing is trained.

Maps of every slice, their channels brought to fewer by a fixed random projection, pooled over the slices of each plane
and over places (all of them, or a coarse grid that keeps where things are). Distances survive a random projection
(Johnson and Lindenstrauss, 1984, https://doi.org/10.1090/conm/026/737400). How the parts are put together is ours.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dimlift.errors import ConfigError, UnknownName
from dimlift.methods.frozen_features.settings import Plane

Pooling = Literal["mean", "max", "both"]
POOLINGS = ("mean", "max", "both")


def embed_maps(
    maps: Sequence[Float[Tensor, "_ _ _ _"]], planes: Sequence[Plane], pooling: Pooling = "mean", grid: int = 1
) -> Float[Tensor, " width"]:
    """The vector of a volume.

    Args:
        maps: (channels, d, h, w) of each plane and stage, planes outermost, as an `Extractor` gives them.
        planes: across which slices were cut.
        pooling: over the slices of a plane, and over the places that fall into one cell of the grid.
        grid: places kept along both axes of a slice; 1 keeps none.

    Returns:
        for "both" the means and then the maxima.

    Raises:
        UnknownName: for another pooling.
        ConfigError: if the grid has no cell.
    """
    if pooling not in POOLINGS:
        raise UnknownName("pooling", pooling, POOLINGS)
    if grid < 1:
        raise ConfigError(f"grid must be at least 1, got {grid}; 1 keeps no places")
    stages = len(maps) // len(planes)
    axes = {"depth": 1, "height": 2, "width": 3}
    found = []
    for kind in ("mean", "max") if pooling == "both" else (pooling,):
        pool: Any = F.adaptive_avg_pool3d if kind == "mean" else F.adaptive_max_pool3d
        for number, each in enumerate(maps):
            size = [grid] * 3
            size[axes[planes[number // stages]] - 1] = 1
            found.append(pool(each.float(), size).flatten())
    return torch.cat(found)
