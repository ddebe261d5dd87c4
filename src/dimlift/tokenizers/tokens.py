"""What every tokenizer hands out."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

Grid = tuple[int, int, int]
"""(z, y, x)"""


class Tokens(NamedTuple):
    """Tokens of some volumes, and where they are.

    Attributes:
        values: one vector a token.
        centres: (z, y, x) of the middle of what each token has seen; 0 and 1 are the outer faces of the volume.
        grid: tokens along (z, y, x), x running fastest.
    """

    values: Float[Tensor, "batch tokens width"]
    centres: Float[Tensor, "batch tokens 3"]
    grid: Grid


def cell_centres(size: Grid, cell: Grid, like: Tensor) -> Float[Tensor, "tokens 3"]:
    """Middles of the cells a volume is cut into, in the unit cube; the last of an axis may be cut short.

    Args:
        size: voxels of the volume.
        cell: voxels of a cell.
        like: gives device and type.
    """
    axes = []
    for voxels, step in zip(size, cell, strict=True):
        first = torch.arange(0, voxels, step, device=like.device)
        axes.append((first + (first + step).clamp_max(voxels)).to(like.dtype) / (2 * voxels))
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 2)
