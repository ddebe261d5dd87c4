"""Tokens of point cloud patches from a small PointNet, independent of the order of the points.

- Qi et al., PointNet, 2017, https://arxiv.org/abs/1612.00593
- Pang et al., Point-MAE, 2022, https://arxiv.org/abs/2203.06604
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
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


class PointMLP(nn.Sequential):
    """Two linear layers with batch norm and ReLU between them, on the last axis; all other axes are one batch.

    Layer norm in its place removes the size of a patch from its token; masked pretraining then ends below random
    weights (docs/results.md).
    """

    def __init__(self, in_channels: int, hidden: int, out_channels: int) -> None:
        super().__init__(
            nn.Linear(in_channels, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, out_channels)
        )

    def forward(self, points: Float[Tensor, "*batch channels"]) -> Float[Tensor, "*batch width"]:
        """Return the features of every point."""
        return super().forward(points.flatten(0, -2)).unflatten(0, points.shape[:-1])


class PointPatchEmbedding(nn.Module):
    """Embedding of point patches: a per-point MLP, max pooling, and a second MLP on point and pooled features.

    Batch norm sees the points of the given patches only. A masked autoencoder passes its visible patches and marks
    padding, so no masked point enters the statistics.

    Args:
        in_channels: channels of a point.
        width: channels of a token.
        hidden: widths of the first MLP.
    """

    def __init__(self, in_channels: int, width: int, hidden: tuple[int, int] = (128, 256)) -> None:
        super().__init__()
        first, second = hidden
        self.each = PointMLP(in_channels, first, second)
        self.both = PointMLP(2 * second, 2 * second, width)

    def forward(
        self,
        patches: Float[Tensor, "batch patches points channels"],
        padding: Bool[Tensor, "batch patches"] | None = None,
    ) -> Float[Tensor, "batch patches width"]:
        """Return one token per patch.

        Args:
            padding: True for patches that are padding; they are not computed, and their tokens are zero.
        """
        if padding is None:
            return self._embed(patches.flatten(0, 1)).unflatten(0, patches.shape[:2])
        tokens = self._embed(patches[~padding])
        return tokens.new_zeros(*padding.shape, tokens.shape[-1]).masked_scatter(~padding[..., None], tokens)

    def _embed(self, patches: Float[Tensor, "patches points channels"]) -> Float[Tensor, "patches width"]:
        values = self.each(patches)
        pooled = values.amax(1, keepdim=True)
        first, norm, activation, last = self.both
        # the product of [pooled, value] with a matrix; the part of `pooled` is equal for all points of a patch
        weight: Any = first.weight
        bias: Any = first.bias
        pooled_weight, point_weight = weight.split(values.shape[-1], dim=1)
        hidden = F.linear(pooled, pooled_weight, bias) + F.linear(values, point_weight)
        hidden = activation(norm(hidden.flatten(0, 1))).unflatten(0, hidden.shape[:2])
        return last(hidden).amax(1)


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
