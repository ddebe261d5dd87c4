"""Segment point clouds: tokens of every level interpolated to the points, and features of each point alone.

- Pang et al., Point-MAE, 2022, https://arxiv.org/abs/2203.06604: features of several depths, interpolated to the points
- Qi et al., PointNet++, 2017, https://arxiv.org/abs/1706.02413: interpolation from the three nearest neighbours
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.geometry.neighbours import interpolate
from dimlift.models.point_m2ae_encoder import PointM2AEEncoder
from dimlift.models.transformer_init import init_transformer_weights
from dimlift.tokenizers.points import join_features


class PointCloudSegmenter(nn.Module):
    """Segmentation network (B, N, 3) -> logits of every point (B, N, num_classes).

    Args:
        encoder: encoder whose tokens of all levels are used.
        num_classes: number of classes.
    """

    def __init__(self, encoder: PointM2AEEncoder, num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        width = max(32, encoder.width // 4)
        self.point_mlp = nn.Sequential(nn.Linear(3 + encoder.in_channels, width), nn.LayerNorm(width), nn.ReLU())
        self.lateral = nn.ModuleList(nn.Linear(each, width) for each in encoder.widths)
        inputs = width * (len(encoder.widths) + 1) + encoder.width
        self.head = nn.Sequential(
            nn.Linear(inputs, 2 * width), nn.LayerNorm(2 * width), nn.ReLU(), nn.Linear(2 * width, num_classes)
        )
        init_transformer_weights(self.point_mlp, self.lateral, self.head)

    def forward(
        self, points: Float[Tensor, "batch points 3"], features: Float[Tensor, "batch points channels"] | None = None
    ) -> Float[Tensor, "batch points classes"]:
        """Return the logits of every point."""
        levels = self.encoder.cut(points)
        tokens = self.encoder.encode(points, levels, features=features)
        joined: list[Any] = [self.point_mlp(join_features(points, features, self.encoder.in_channels))]
        for lateral, level, values in zip(self.lateral, levels, tokens, strict=True):
            joined.append(interpolate(points, level.centres, lateral(values)))
        joined.append(tokens[-1].amax(1, keepdim=True).expand(-1, points.shape[1], -1))
        return self.head(torch.cat(joined, dim=-1))
