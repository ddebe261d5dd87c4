"""One token for each patch of a point cloud: a small PointNet reads its points, whatever their order.

- Qi et al., PointNet, 2017, https://arxiv.org/abs/1612.00593
- Pang et al., Point-MAE, 2022, https://arxiv.org/abs/2203.06604
"""

from typing import Any, NamedTuple

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class PointTokens(NamedTuple):
    """Tokens of clouds, and where they are.

    Attributes:
        values: one vector a token.
        centres: coordinates of each, in the unit of the points.
    """

    values: Float[Tensor, "batch tokens width"]
    centres: Float[Tensor, "batch tokens 3"]


class PatchEmbedding(nn.Module):
    """Points of a patch -> its token: a network for each point, the largest answer, a second network with both.

    The authors normalise over the batch. Here each point is normalised alone (layer norm): statistics of a batch
    would carry what is masked into what is visible, and make a cloud's tokens depend on its company.

    Args:
        in_channels: numbers of a point.
        width: of a token.
        hidden: widths of the first network.
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
        """One token for each patch."""
        values = self.each(patches)
        whole = values.amax(2, keepdim=True)
        first: Any = self.both[0]
        # [whole, value] times a matrix: the part of `whole` is the same for all points of a patch, and taken once
        of_whole, of_each = first.weight.split(values.shape[-1], dim=1)
        found = F.linear(whole, of_whole, first.bias) + F.linear(values, of_each)
        return self.both[1:](found).amax(2)


def position_network(width: int, hidden: int = 128) -> nn.Module:
    """Coordinates -> what is added to a token."""
    return nn.Sequential(nn.Linear(3, hidden), nn.GELU(), nn.Linear(hidden, width))
