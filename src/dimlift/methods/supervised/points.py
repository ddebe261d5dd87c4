"""Classes learnt from labels: one for every cloud, or one for every point."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.batch import IGNORE, PointBatch
from dimlift.errors import RunError
from dimlift.methods.supervised.param_groups import parameter_groups


class SupervisedPoints(nn.Module):
    """Cross-entropy of a network of points.

    Args:
        model: (B, N, 3) and features -> logits (B, classes), or (B, N, classes).
        smoothing: share of the answer that is spread over all classes; the authors of I2P-MAE have 0.2.
        class_weights: of each class; all alike if None.
        encoder_scale: rate of the encoder, as a share of the head's.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        model: nn.Module,
        *,
        smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        encoder_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.model, self.smoothing, self.encoder_scale = model, smoothing, encoder_scale
        weights = None if class_weights is None else torch.tensor([float(weight) for weight in class_weights])
        self.register_buffer("class_weights", weights, persistent=False)  # how it learns, no part of what it learnt

    def forward(self, points: Float[Tensor, "batch points 3"], features: Tensor | None = None) -> Tensor:
        """Logits."""
        return self.model(points, features)

    def loss(self, batch: PointBatch) -> Float[Tensor, ""]:
        """Mean over what is labelled; nothing where nothing is.

        Raises:
            RunError: if the clouds have no label.
        """
        if batch.label is None:
            raise RunError("clouds without labels cannot be classified; give a CSV, or a folder for each class")
        answer, label = self.model(batch.points, batch.features).float().flatten(0, -2), batch.label.flatten()
        if not (label != IGNORE).any():
            return answer.sum() * 0
        return F.cross_entropy(
            answer, label, weight=self.class_weights, ignore_index=IGNORE, label_smoothing=self.smoothing
        )

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """Encoder and head."""
        return parameter_groups(self.model, rate, encoder_scale=self.encoder_scale)

    def set_progress(self, progress: float) -> None:
        """Nothing changes over the budget."""
