"""One answer for every point: tokens of every level carried back to the points, and what a point is by itself.

- Pang et al., Point-MAE, 2022, https://arxiv.org/abs/2203.06604: features of several depths, interpolated to the points
- Qi et al., PointNet++, 2017, https://arxiv.org/abs/1706.02413: interpolation by the three nearest
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.geometry.neighbours import interpolate
from dimlift.models.point_m2ae_encoder import PointHierarchy


class CloudSegmenter(nn.Module):
    """(B, N, 3) -> logits of every point (B, N, classes).

    Args:
        encoder: tokens of whose levels are read.
        classes: length of each answer.
    """

    def __init__(self, encoder: PointHierarchy, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        width = max(32, encoder.width // 4)
        self.near = nn.Sequential(nn.Linear(3 + encoder.in_channels, width), nn.LayerNorm(width), nn.ReLU())
        self.carry = nn.ModuleList(nn.Linear(each, width) for each in encoder.widths)
        inside = width * (len(encoder.widths) + 1) + encoder.width
        self.head = nn.Sequential(
            nn.Linear(inside, 2 * width), nn.LayerNorm(2 * width), nn.ReLU(), nn.Linear(2 * width, classes)
        )

    def forward(
        self, points: Float[Tensor, "batch points 3"], features: Float[Tensor, "batch points channels"] | None = None
    ) -> Float[Tensor, "batch points classes"]:
        """Logits of every point."""
        levels = self.encoder.cut(points)
        tokens = self.encoder.encode(points, levels, features=features)
        found: list[Any] = [self.near(points if features is None else torch.cat([points, features], dim=-1))]
        for carry, level, values in zip(self.carry, levels, tokens, strict=True):
            found.append(interpolate(points, level.centres, carry(values)))
        found.append(tokens[-1].amax(1, keepdim=True).expand(-1, points.shape[1], -1))
        return self.head(torch.cat(found, dim=-1))
