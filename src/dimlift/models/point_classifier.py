"""One answer for a cloud: any encoder of points, and a head on the mean and the largest of its tokens."""

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

Pooling = Literal["max", "mean", "both"]


class CloudClassifier(nn.Module):
    """(B, N, 3) -> logits (B, classes).

    Args:
        encoder: answers with `PointTokens` and has their `width`.
        classes: length of the answer; 0 leaves the head out, for an encoder that is not asked anything yet.
    """

    def __init__(self, encoder: nn.Module, classes: int) -> None:
        super().__init__()
        width: Any = encoder.width
        self.encoder = encoder
        self.head: nn.Module = nn.Identity()
        if classes:
            self.head = nn.Sequential(
                nn.Linear(2 * width, width), nn.LayerNorm(width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, classes)
            )

    def forward(
        self, points: Float[Tensor, "batch points 3"], features: Float[Tensor, "batch points channels"] | None = None
    ) -> Float[Tensor, "batch classes"]:
        """Logits of every cloud."""
        return self.head(pooled(self.encoder(points, features).values, "both"))


def pooled(tokens: Float[Tensor, "batch tokens width"], how: Pooling) -> Float[Tensor, "batch _"]:
    """One vector for each cloud: the largest of its tokens, their mean, or both beside each other."""
    largest, mean = tokens.amax(1), tokens.mean(1)
    return {"max": largest, "mean": mean, "both": torch.cat([largest, mean], dim=1)}[how]
