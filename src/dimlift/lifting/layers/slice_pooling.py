"""Pooling of logits over the slices of a volume."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn


class SlicePool(nn.Module):
    """Pool logits over depth.

    "attention" weights slices by the softmax of a learnt score of their logits. The score is initialised to zero, so
    it starts as the mean.

    Args:
        kind: "none" keeps the logits of every slice.
        classes: number of classes.
    """

    def __init__(self, kind: Literal["mean", "max", "attention", "none"], classes: int) -> None:
        super().__init__()
        self.kind = kind
        self.score: nn.Linear | None = None
        if kind == "attention":
            self.score = nn.Linear(classes, 1)
            nn.init.zeros_(self.score.weight)
            nn.init.zeros_(self.score.bias)

    def forward(self, logits: Float[Tensor, "batch depth classes"]) -> Float[Tensor, " batch *classes"]:
        """Return logits (B, K); for "none" (B, D, K)."""
        if self.kind == "none":
            return logits
        if self.kind == "max":
            return logits.amax(1)
        if self.score is None:
            return logits.mean(1)
        return (self.score(logits).softmax(1) * logits).sum(1)
