"""Classify point clouds: any point encoder, and a head on the mean and the maximum of its tokens."""

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.models.transformer_init import init_transformer_weights

TokenPooling = Literal["max", "mean", "both"]


class PointCloudClassifier(nn.Module):
    """Classifier (B, N, 3) -> logits (B, num_classes).

    Args:
        encoder: returns `PointTokens` and has their `width`.
        num_classes: number of classes; 0 leaves out the head, for an encoder that is pretrained.
    """

    def __init__(self, encoder: nn.Module, num_classes: int) -> None:
        super().__init__()
        width: Any = encoder.width
        self.encoder = encoder
        self.head: nn.Module = nn.Identity()
        if num_classes:
            self.head = nn.Sequential(
                nn.Linear(2 * width, width),
                nn.LayerNorm(width),
                nn.ReLU(),
                nn.Dropout(0.2),
                nn.Linear(width, num_classes),
            )
            init_transformer_weights(self.head)

    def forward(
        self, points: Float[Tensor, "batch points 3"], features: Float[Tensor, "batch points channels"] | None = None
    ) -> Float[Tensor, "batch classes"]:
        """Return the logits of every point cloud."""
        return self.head(pool_tokens(self.encoder(points, features).values, "both"))


def pool_tokens(tokens: Float[Tensor, "batch tokens width"], pooling: TokenPooling) -> Float[Tensor, "batch _"]:
    """Return one vector per point cloud: the maximum of its tokens, their mean, or both concatenated."""
    largest, mean = tokens.amax(1), tokens.mean(1)
    return {"max": largest, "mean": mean, "both": torch.cat([largest, mean], dim=1)}[pooling]
