"""How the answers of slices become one answer of the volume."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn


class SliceHead(nn.Module):
    """Aggregate logits over depth.

    "attention" weighs slices by a softmax over a learnt score of their logits. The score starts at zero
    everywhere, so it starts as the mean.
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
        """(B, D, K) to (B, K); unchanged for "none"."""
        if self.kind == "none":
            return logits
        if self.kind == "max":
            return logits.amax(1)
        if self.score is None:
            return logits.mean(1)
        return (self.score(logits).softmax(1) * logits).sum(1)
