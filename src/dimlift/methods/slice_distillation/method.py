"""Slice-feature distillation: 2D features without the cost of the 2D network at inference.

A frozen 2D network extracts features of every slice of unlabelled volumes, and a small, fast 3D network learns to
predict them. Targets are the leading principal components of the maps, scaled to unit variance, so that all channels
have equal weight. Matching a teacher's inner maps follows FitNets (Romero et al., 2015,
https://arxiv.org/abs/1412.6550); distilling slices into volumes, and the equations, are specific to this project:

    L = (1 - c) * mean (s - t)^2 + c * mean (1 - cos(s, t))

with s the student's output averaged onto the grid of the targets t, and c the weight of the cosine term.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.batch import VolumeBatch
from dimlift.errors import RunError
from dimlift.methods.frozen_features.extraction import FeatureExtractor
from dimlift.methods.frozen_features.merge import merge_maps
from dimlift.methods.frozen_features.projection import FeatureProjection
from dimlift.methods.method import Method, ParamGroup
from dimlift.methods.supervised.encoder_layers import param_groups_layer_decay


class SliceDistillation(Method[VolumeBatch]):
    """Distillation of slice features into a 3D network.

    Args:
        student: (B, C, D, H, W) -> (B, components, D, H, W).
        extractor: feature extraction with the frozen 2D network.
        num_components: components of all maps together.
        cosine_weight: weight of the cosine term.

    Attributes:
        feature_stride: voxels of the image per voxel of the targets, along each axis.
    """

    feature_stride = 2

    def __init__(
        self, student: nn.Module, extractor: FeatureExtractor, num_components: int, *, cosine_weight: float = 0.0
    ) -> None:
        super().__init__()
        self.model, self.extractor, self.cosine_weight = student, extractor, cosine_weight
        self.projection = FeatureProjection(extractor.channels, num_components)

    def fit(self, cases: Iterable[Sequence[Float[Tensor, "_ _ _ _"]]]) -> None:
        """Fit the principal components on the maps of all volumes."""
        self.projection.fit(cases)

    @torch.no_grad()
    def project(self, maps: Sequence[Float[Tensor, "_ _ _ _"]], size: Sequence[int]) -> list[Float[Tensor, "_ _ _ _"]]:
        """Convert the maps of a volume of `size` voxels to standardised coarse targets."""
        return merge_maps(self.projection(maps), size, self.feature_stride)

    def forward(self, image: Float[Tensor, "batch _ _ _ _"]) -> Float[Tensor, "batch components _ _ _"]:
        """Return the predicted components."""
        return self.model(image)

    def loss(self, batch: VolumeBatch) -> Float[Tensor, ""]:
        """Return the distance to the targets.

        Raises:
            RunError: if the batch has no targets.
        """
        if batch.features is None:
            raise RunError("the batch has no slice features; sample it with the features of the volumes")
        target = batch.features
        depth, height, width = target.shape[2:]
        output = self.model(batch.image).float().contiguous()  # pooling takes twice as long on channels-last memory
        output = F.adaptive_avg_pool3d(output, (depth, height, width))
        distance = F.mse_loss(output, target)
        if not self.cosine_weight:
            return distance
        cosine = (1 - F.cosine_similarity(output, target, dim=1)).mean()
        return (1 - self.cosine_weight) * distance + self.cosine_weight * cosine

    def param_groups(self, lr: float) -> list[ParamGroup]:
        """Return the parameter groups of the student; the projection is fitted, not trained."""
        return param_groups_layer_decay(self.model, lr)
