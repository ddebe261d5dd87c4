"""Output of the tokenizers of volumes."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from dimlift.errors import ShapeError

Grid = tuple[int, int, int]
"""(z, y, x)"""


class Tokens(NamedTuple):
    """Tokens of volumes and their positions.

    Attributes:
        values: one vector per token.
        centres: (z, y, x) centre of each token's receptive field; 0 and 1 are the outer faces of the volume.
        grid: number of tokens along (z, y, x), x fastest.
    """

    values: Float[Tensor, "batch tokens width"]
    centres: Float[Tensor, "batch tokens 3"]
    grid: Grid


def patch_centres(size: Grid, patch_size: Grid, like: Tensor) -> Float[Tensor, "tokens 3"]:
    """Return the centres of a volume's 3D patches in the unit cube; the last patch of an axis may be cropped.

    Args:
        size: voxels of the volume.
        patch_size: voxels of a patch.
        like: tensor of the device and dtype of the result.
    """
    axes = []
    for voxels, step in zip(size, patch_size, strict=True):
        first = torch.arange(0, voxels, step, device=like.device)
        axes.append((first + (first + step).clamp_max(voxels)).to(like.dtype) / (2 * voxels))
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 2)


def require_width(kernel: Float[Tensor, "width colours h w"], width: int) -> None:
    """Check that a 2D patch embedding has tokens of a width.

    Raises:
        ShapeError: if not.
    """
    if kernel.shape[0] != width:
        raise ShapeError(f"the 2D network has tokens of width {kernel.shape[0]}, the tokenizer of width {width}")
