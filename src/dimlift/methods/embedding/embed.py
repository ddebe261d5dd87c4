"""Embedding of a volume from a frozen 2D network on its planes, without training.

The maps of every slice are reduced by a fixed random projection of their channels and pooled over the slices of each
plane and over positions (all of them, or a coarse grid that keeps positions). Random projections preserve distances
(Johnson and Lindenstrauss, 1984, https://doi.org/10.1090/conm/026/737400). The combination is this project's.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dimlift.errors import ConfigError, UnknownNameError
from dimlift.methods.frozen_features.settings import Plane

Pooling = Literal["mean", "max", "both"]


def embed_maps(
    maps: Sequence[Float[Tensor, "_ _ _ _"]], planes: Sequence[Plane], pooling: Pooling = "mean", grid: int = 1
) -> Float[Tensor, " width"]:
    """Return the embedding of a volume.

    Args:
        maps: (channels, d, h, w) of each plane and stage, planes outermost, as a `FeatureExtractor` returns them.
        planes: axes across which slices were cut.
        pooling: pooling over the slices of a plane and over the positions in a cell of the grid; "both" concatenates
            means and maxima.
        grid: number of cells along both axes of a slice.

    Raises:
        UnknownNameError: for an unknown pooling.
        ConfigError: if the grid has no cell.
    """
    if pooling not in get_args(Pooling):
        raise UnknownNameError("pooling", pooling, get_args(Pooling))
    if grid < 1:
        raise ConfigError(f"grid must be at least 1, got {grid}; 1 pools over whole slices")
    stages = len(maps) // len(planes)
    axes = {"depth": 1, "height": 2, "width": 3}
    parts = []
    for kind in ("mean", "max") if pooling == "both" else (pooling,):
        pool: Any = F.adaptive_avg_pool3d if kind == "mean" else F.adaptive_max_pool3d
        for number, each in enumerate(maps):
            size = [grid] * 3
            size[axes[planes[number // stages]] - 1] = 1
            parts.append(pool(each.float(), size).flatten())
    return torch.cat(parts)
