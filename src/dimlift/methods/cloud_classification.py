"""One class for a cloud, learnt from labels: what a pretrained encoder of points is fine-tuned as."""

from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.batches import IGNORE, PointBatch
from dimlift.errors import RunError
from dimlift.methods.parameters import parameter_groups


class CloudClassification(nn.Module):
    """Cross-entropy of a classifier of clouds.

    Args:
        model: (B, N, 3) -> logits (B, classes).
        smoothing: share of the answer that is spread over all classes; the authors of I2P-MAE have 0.2.
        encoder_scale: rate of the encoder, as a share of the head's.
    """

    def __init__(self, model: nn.Module, *, smoothing: float = 0.0, encoder_scale: float = 1.0) -> None:
        super().__init__()
        self.model, self.smoothing, self.encoder_scale = model, smoothing, encoder_scale

    def forward(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch classes"]:
        """Logits."""
        return self.model(points)

    def loss(self, batch: PointBatch) -> Float[Tensor, ""]:
        """Mean cross-entropy.

        Raises:
            RunError: if the clouds have no label.
        """
        if batch.label is None:
            raise RunError("clouds without labels cannot be classified; give a CSV, or a folder for each class")
        answer = self.model(batch.points).float()
        return F.cross_entropy(answer, batch.label, ignore_index=IGNORE, label_smoothing=self.smoothing)

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """Encoder and head."""
        return parameter_groups(self.model, rate, encoder_scale=self.encoder_scale)

    def set_progress(self, progress: float) -> None:
        """Nothing changes over the budget."""
