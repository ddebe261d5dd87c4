"""I2P-MAE: a 2D network guides masking and adds a feature target, from three depth images.

Zhang et al., 2022, https://arxiv.org/abs/2212.06785

    L = CD-L2 of the masked patches + w * MSE(predicted 2D features of the visible patches, the teacher's features)

Both terms use the second finest level. Differences from the authors' code: the teacher is any vision transformer,
excluded from optimizer and checkpoint; its maps are sampled at the points instead of being upsampled to the image size
(equal up to rounding, and 0.27 GB instead of 6.6 GB); nearer points are brighter, and the nearest point of a pixel is
drawn.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.batch import PointBatch
from dimlift.errors import ShapeError
from dimlift.geometry.patches import Patches, centre_indices, propagate_visibility
from dimlift.geometry.sampling import gather_points
from dimlift.geometry.views import AXES, axis_view, sample_at
from dimlift.methods.point_mae.method import PointMAE
from dimlift.methods.point_pretraining.depth_images import depth_to_rgb
from dimlift.methods.point_pretraining.masking import sample_visible, standardise_scores
from dimlift.methods.teachers.attention_saliency import attention_saliency, require_attention
from dimlift.methods.teachers.teacher import Teacher
from dimlift.models.transformer_init import init_transformer_weights


class PointTargets(NamedTuple):
    """The teacher's features and saliency of each point.

    Attributes:
        features: un-normalised features of the three views, concatenated.
        saliency: mean saliency of the three views; see `TeacherOutput`.
    """

    features: Float[Tensor, "batch points channels"]
    saliency: Float[Tensor, "batch points"]


class I2PMAE(PointMAE):
    """Masked point autoencoder guided by a 2D network.

    Args:
        model: network whose `encoder` is pretrained; the encoder has at least two levels.
        teacher: a vision transformer with a class token.
        mask_ratio: fraction of the coarsest patches that is masked.
        decoder_depth: transformer blocks of the decoder at each level.
        saliency_temperature: of the sampling of visible patches. The published 1 is nearly uniform, because attention
            weights are small: of 64 patches, the most salient quarter is visible hardly more often than the least.
        standardise_saliency: scale the saliencies of a point cloud to unit standard deviation before the temperature;
            not in the authors' code.
        feature_weight: weight of the feature loss.
        render_size: height and width of the depth images, in pixels.

    Raises:
        ShapeError: if the encoder has one level.
        LiftError: if the teacher's attention cannot be read.
    """

    def __init__(
        self,
        model: nn.Module,
        teacher: Teacher,
        *,
        mask_ratio: float = 0.8,
        decoder_depth: int = 1,
        saliency_temperature: float = 1.0,
        standardise_saliency: bool = False,
        feature_weight: float = 1.0,
        render_size: int = 224,
    ) -> None:
        super().__init__(model, mask_ratio=mask_ratio, decoder_depth=decoder_depth)
        if self.level == 0:
            raise ShapeError(
                "I2P-MAE predicts features at the second finest level; use an encoder of two levels or more "
                "(point_m2ae)"
            )
        channels = require_attention(teacher, render_size)
        self.teacher, self.feature_weight, self.render_size = teacher, feature_weight, render_size
        self.saliency_temperature, self.standardise_saliency = saliency_temperature, standardise_saliency
        self.feature_head = nn.Linear(
            self.decoder.width, self.point_encoder.group_sizes[self.level] * len(AXES) * channels
        )
        init_transformer_weights(self.feature_head)

    def loss(self, batch: PointBatch) -> Float[Tensor, ""]:
        """Return the sum of reconstruction and feature loss."""
        levels = self.point_encoder.cut(batch.points)
        targets = self.point_targets(batch.points, levels[0].chosen)
        visible = self.sample_mask(targets.saliency, levels)
        tokens = self.predict_tokens(batch.points, levels, visible)
        shown = visible[self.level]
        features = gather_points(targets.features, levels[self.level].members).flatten(2)[shown]
        feature_loss = F.mse_loss(self.feature_head(tokens[shown]).float(), features)
        predicted = self.predict_points(tokens[~shown])
        point_loss = self.point_loss(predicted, batch.points, levels, self.level, ~shown)
        return point_loss + self.feature_weight * feature_loss

    def sample_mask(self, saliency: Float[Tensor, "batch finest"], levels: Sequence[Patches]) -> list[Tensor]:
        """Sample the visible patches of every level; salient patches are visible more often."""
        index = centre_indices(levels[1:], len(levels) - 2)  # the coarsest centres among the finest
        scores = saliency.gather(1, index)
        scores = standardise_scores(scores) if self.standardise_saliency else scores
        return propagate_visibility(levels, sample_visible(scores, self.mask_ratio, self.saliency_temperature))

    @torch.no_grad()
    def point_targets(self, points: Float[Tensor, "batch points 3"], index: Tensor) -> PointTargets:
        """Return the teacher's features and saliency at selected points.

        Args:
            index: indices of the points, (batch, selected).
        """
        self.teacher.frozen.to(points.device)
        features, saliency = [], []
        for number in range(len(AXES)):
            view = axis_view(points, number, self.render_size)
            output = attention_saliency(self.teacher, depth_to_rgb(view.depth))
            uv = gather_points(view.uv, index)
            features.append(sample_at(output.maps, uv, "bicubic"))
            saliency.append(sample_at(output.saliency, uv, "bicubic")[..., 0])
        return PointTargets(torch.cat(features, dim=-1), torch.stack(saliency).mean(0))
