"""Masked point autoencoders: most patches are masked and their points are predicted.

- Pang et al., Point-MAE, 2022, https://arxiv.org/abs/2203.06604: one level, 60 % masked, 4 blocks
- Zhang et al., Point-M2AE, 2022, https://arxiv.org/abs/2205.14401: three levels, 80 % masked, 1 block a level

    L = mean over masked patches of CD-L2(predicted points, points), both relative to the patch's centre
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.batch import PointBatch
from dimlift.geometry.patches import Patches, propagate_visibility
from dimlift.methods.point_mae.decoder import PointDecoder
from dimlift.methods.point_pretraining.masked_autoencoder import MaskedPointAutoencoder
from dimlift.methods.point_pretraining.masking import leakage, sample_visible_uniformly
from dimlift.models.transformer_init import init_transformer_weights


class PointMAE(MaskedPointAutoencoder):
    """Masked autoencoder that pretrains a point encoder.

    Args:
        model: network whose `encoder` is pretrained.
        mask_ratio: fraction of the coarsest patches that is masked.
        decoder_depth: transformer blocks of the decoder at each level.

    Attributes:
        leakage_history: `leakage` of the last batches in evaluation mode.
    """

    def __init__(self, model: nn.Module, *, mask_ratio: float = 0.6, decoder_depth: int = 4) -> None:
        super().__init__(model, mask_ratio)
        self.decoder = PointDecoder(self.point_encoder, decoder_depth)
        self.point_head = nn.Linear(self.decoder.width, 3 * self.point_encoder.group_sizes[self.level])
        init_transformer_weights(self.point_head)
        self.leakage_history: deque[Tensor] = deque(maxlen=20)

    @property
    def level(self) -> int:
        """Level whose patches are predicted."""
        return self.decoder.level

    def loss(self, batch: PointBatch) -> Float[Tensor, ""]:
        """Return the Chamfer distance of the masked patches."""
        levels = self.point_encoder.cut(batch.points)
        visible = propagate_visibility(levels, sample_visible_uniformly(levels[-1].centres, self.mask_ratio))
        tokens = self.predict_tokens(batch.points, levels, visible)
        masked = ~visible[self.level]
        return self.point_loss(self.predict_points(tokens[masked]), batch.points, levels, self.level, masked)

    def predict_tokens(
        self, points: Tensor, levels: Sequence[Patches], visible: Sequence[Tensor]
    ) -> Float[Tensor, "batch patches width"]:
        """Return the decoder's tokens of visible and masked patches; record the leakage of the mask."""
        if not self.training:
            self.leakage_history.append(leakage(points.shape[1], levels, self.level, visible))
        return self.decoder(self.point_encoder.encode(points, levels, visible[-1]), levels, visible)

    def report(self) -> dict[str, Any]:
        """Return the mean leakage of the last batches, their loss and that of the blind baseline."""
        if not self.leakage_history:
            return {}
        return {"leakage": float(torch.stack(list(self.leakage_history)).mean()), **super().report()}
