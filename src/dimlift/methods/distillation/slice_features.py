"""Slice-feature distillation: 2D knowledge without its cost at run time.

A frozen 2D network looks at every slice of volumes nobody labelled; a 3D network, small and fast, learns to answer
with what it saw. Targets are the leading principal components of the maps, each with variance one, so that no channel
outweighs the others. The idea of matching a teacher's inner maps is FitNets' (Romero et al., 2015,
https://arxiv.org/abs/1412.6550); teaching volumes by slices this way, and the equations, are ours:

    L = (1 - c) * mean (s - t)^2 + c * mean (1 - cos(s, t))

with s the student's answer averaged onto the grid of the targets t, and c a share (`cosine`).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.batch import VolumeBatch
from dimlift.errors import RunError
from dimlift.methods.frozen_features.extraction import Extractor
from dimlift.methods.frozen_features.merge import merged
from dimlift.methods.frozen_features.projection import FeatureProjection
from dimlift.methods.supervised.param_groups import parameter_groups


class SliceDistillation(nn.Module):
    """Train `student` to foresee slice features.

    Args:
        student: (B, C, D, H, W) -> (B, components, D, H, W).
        extractor: the frozen 2D network and how it is shown slices.
        components: of all maps together.
        cosine: share of the loss that compares directions.

    Attributes:
        feature_stride: voxels of the image to each place of the targets, along each axis.
    """

    feature_stride = 2

    def __init__(self, student: nn.Module, extractor: Extractor, components: int, *, cosine: float = 0.0) -> None:
        super().__init__()
        self.model, self.extractor, self.cosine = student, extractor, cosine
        self.projection = FeatureProjection(extractor.channels, components)

    def fit(self, cases: Iterable[Sequence[Float[Tensor, "_ _ _ _"]]]) -> None:
        """Fit the targets' components on the maps of the pool."""
        self.projection.fit(cases)

    @torch.no_grad()
    def project(self, maps: Sequence[Float[Tensor, "_ _ _ _"]], size: Sequence[int]) -> list[Float[Tensor, "_ _ _ _"]]:
        """Maps of a volume of `size` voxels -> standardised coarse targets."""
        return merged(self.projection(maps), size, self.feature_stride)

    def forward(self, image: Float[Tensor, "batch _ _ _ _"]) -> Float[Tensor, "batch components _ _ _"]:
        """What the student foresees."""
        return self.model(image)

    def loss(self, batch: VolumeBatch) -> Float[Tensor, ""]:
        """Distance to the targets.

        Raises:
            RunError: if the batch holds no targets.
        """
        if batch.features is None:
            raise RunError("the batch holds no slice features to learn from; draw it with the features of the pool")
        target = batch.features
        depth, height, width = target.shape[2:]
        answer = self.model(batch.image).float().contiguous()  # pooling takes twice as long on channels-last memory
        answer = F.adaptive_avg_pool3d(answer, (depth, height, width))
        distance = F.mse_loss(answer, target)
        if not self.cosine:
            return distance
        turned = (1 - F.cosine_similarity(answer, target, dim=1)).mean()
        return (1 - self.cosine) * distance + self.cosine * turned

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """The student alone: the teacher does not learn, the projection is fitted."""
        return parameter_groups(self.model, rate)

    def set_progress(self, progress: float) -> None:
        """Nothing changes over the budget."""
