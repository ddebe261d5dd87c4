"""Tokens of point cloud patches from a small PointNet, independent of the order of the points.

- Qi et al., PointNet, 2017, https://arxiv.org/abs/1612.00593
- Pang et al., Point-MAE, 2022, https://arxiv.org/abs/2203.06604
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.errors import ShapeError


class PointTokens(NamedTuple):
    """Tokens of point clouds and their coordinates.

    Attributes:
        values: one vector per token.
        centres: coordinates of each token, in the unit of the points.
    """

    values: Float[Tensor, "batch tokens width"]
    centres: Float[Tensor, "batch tokens 3"]


class PointPatchEmbedding(nn.Module):
    """Embedding of point patches: a per-point MLP, max pooling, and a second MLP on point and pooled features.

    The authors use batch norm. Here each point is normalised alone (layer norm): batch statistics would leak masked
    points into visible tokens and make the tokens of a point cloud depend on the rest of its batch.

    Args:
        in_channels: channels of a point.
        width: channels of a token.
        hidden: widths of the first MLP.
    """

    def __init__(self, in_channels: int, width: int, hidden: tuple[int, int] = (128, 256)) -> None:
        super().__init__()
        first, second = hidden
        self.each = nn.Sequential(
            nn.Linear(in_channels, first), nn.LayerNorm(first), nn.ReLU(), nn.Linear(first, second)
        )
        self.both = nn.Sequential(
            nn.Linear(2 * second, 2 * second), nn.LayerNorm(2 * second), nn.ReLU(), nn.Linear(2 * second, width)
        )

    def forward(self, patches: Float[Tensor, "batch patches points channels"]) -> Float[Tensor, "batch patches width"]:
        """Return one token per patch."""
        values = self.each(patches)
        pooled = values.amax(2, keepdim=True)
        first: Any = self.both[0]
        # the product of [pooled, value] with a matrix; the part of `pooled` is equal for all points of a patch
        pooled_weight, point_weight = first.weight.split(values.shape[-1], dim=1)
        hidden = F.linear(pooled, pooled_weight, first.bias) + F.linear(values, point_weight)
        return self.both[1:](hidden).amax(2)


def position_mlp(width: int, hidden: int = 128) -> nn.Module:
    """Build the MLP from coordinates to position embeddings."""
    return nn.Sequential(nn.Linear(3, hidden), nn.GELU(), nn.Linear(hidden, width))


def join_features(
    points: Float[Tensor, "batch points 3"], features: Float[Tensor, "batch points channels"] | None, in_channels: int
) -> Float[Tensor, "batch points _"]:
    """Concatenate coordinates and features.

    Args:
        in_channels: expected number of feature channels.

    Raises:
        ShapeError: if there are other numbers of feature channels.
    """
    channels = 0 if features is None else features.shape[-1]
    if channels != in_channels:
        raise ShapeError(
            f"points have {channels} feature channels beside their coordinates, the network was built for {in_channels}"
        )
    return points if features is None else torch.cat([points, features], dim=-1)
