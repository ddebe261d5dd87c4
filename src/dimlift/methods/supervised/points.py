"""Supervised training of point cloud networks."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.batch import IGNORE, PointBatch
from dimlift.errors import RunError
from dimlift.methods.method import Method, ParamGroup
from dimlift.methods.supervised.encoder_layers import param_groups_layer_decay


class SupervisedPoints(Method[PointBatch]):
    """Cross-entropy of a network for point clouds.

    Args:
        model: (B, N, 3) and optional features -> logits (B, K), or (B, N, K).
        label_smoothing: probability mass spread over all classes; 0.2 in I2P-MAE.
        class_weights: weight of each class; equal weights if None.
        encoder_lr_scale: learning rate of the encoder, as a fraction of the head's.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        model: nn.Module,
        *,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        encoder_lr_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.model, self.label_smoothing, self.encoder_lr_scale = model, label_smoothing, encoder_lr_scale
        weights = None if class_weights is None else torch.tensor([float(weight) for weight in class_weights])
        self.register_buffer("class_weights", weights, persistent=False)  # a training setting, not part of the weights

    def forward(self, points: Float[Tensor, "batch points 3"], features: Tensor | None = None) -> Tensor:
        """Return logits (B, K) or (B, N, K)."""
        return self.model(points, features)

    def loss(self, batch: PointBatch) -> Float[Tensor, ""]:
        """Return the mean cross-entropy over labelled points or point clouds; 0 if there are none.

        Raises:
            RunError: if the batch has no labels.
        """
        if batch.label is None:
            raise RunError("point clouds without labels cannot be classified; provide a CSV, or a folder per class")
        logits, label = self.model(batch.points, batch.features).float().flatten(0, -2), batch.label.flatten()
        if not (label != IGNORE).any():
            return logits.sum() * 0
        return F.cross_entropy(
            logits, label, weight=self.class_weights, ignore_index=IGNORE, label_smoothing=self.label_smoothing
        )

    def param_groups(self, lr: float) -> list[ParamGroup]:
        """Return the groups of encoder and head."""
        return param_groups_layer_decay(self.model, lr, encoder_lr_scale=self.encoder_lr_scale)
