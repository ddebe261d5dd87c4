"""A small 3D U-Net that is given, beside the image, what a frozen 2D network sees in every slice.

The 2D knowledge comes in as channels and costs one pass over the slices of each volume, whatever the number of
training steps. Handing a network the features of another as input: Sharif Razavian et al., 2014,
https://arxiv.org/abs/1403.6382; the channels are made for volumes here.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.batch import VolumeBatch
from dimlift.errors import RunError, ShapeError, UnknownName
from dimlift.losses.segmentation import DiceCrossEntropy
from dimlift.methods.frozen_features.cache import FeatureCache
from dimlift.methods.frozen_features.extraction import Extractor, Spacing
from dimlift.methods.frozen_features.merge import merged
from dimlift.methods.frozen_features.projection import FeatureProjection
from dimlift.methods.supervised.param_groups import parameter_groups
from dimlift.models.feature_fusion_unet import injected_unet
from dimlift.models.unet import plain_unet

INJECTIONS = ("input", "levels")


class BorrowedUnet(nn.Module):
    """MONAI's U-Net over image and borrowed features.

    The order of work: `fit` on the maps of the training cases, `project` the maps of any case, sample them where the
    patch lies (`sample_features`), `forward(image, features)`. The frozen network is in no optimiser and no
    checkpoint; the fitted projection is in the checkpoint.

    Args:
        extractor: where features come from.
        in_channels: channels of the image.
        classes: number of classes, background included.
        components: channels of the features, all maps together.
        inject: "input" puts them beside the image at full resolution; "levels" adds them behind the blocks of the
            U-Net, from half resolution down: an eighth of the voxels to read, and the plain U-Net at the start.
        widths: channels of the levels of the U-Net.
        residual_units: convolutions in each of its blocks.
        channel_dropout: share of the feature channels set to zero in each training patch.
        criterion: Dice plus cross-entropy if None.

    Attributes:
        feature_stride: voxels of the image to each feature voxel, along each axis.

    Raises:
        UnknownName: for an injection there is none of.
    """

    def __init__(
        self,
        extractor: Extractor,
        in_channels: int,
        classes: int,
        *,
        components: int = 24,
        inject: Literal["input", "levels"] = "input",
        widths: Sequence[int] = (16, 32, 64, 128),
        residual_units: int = 0,
        channel_dropout: float = 0.1,
        criterion: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if inject not in INJECTIONS:
            raise UnknownName("injection", inject, INJECTIONS)
        self.extractor = extractor
        self.projection = FeatureProjection(extractor.channels, components)
        self.inject, self.channel_dropout = inject, channel_dropout
        self.feature_stride = 1 if inject == "input" else 2
        count = self.projection.components
        self.unet = (
            plain_unet(in_channels + count, classes, widths=widths, residual_units=residual_units)
            if inject == "input"
            else injected_unet(in_channels, count, classes, widths=widths, residual_units=residual_units)
        )
        self.criterion = criterion or DiceCrossEntropy()

    def fit(self, cases: Iterable[Sequence[Float[Tensor, "_ _ _ _"]]]) -> None:
        """Fit the projection on the maps of the training cases, and of no other."""
        self.projection.fit(cases)

    @torch.no_grad()
    def project(self, maps: Sequence[Float[Tensor, "_ _ _ _"]], size: Sequence[int]) -> list[Float[Tensor, "_ _ _ _"]]:
        """Maps of a case as they come from the cache -> standardised coarse features (K_i, d, h, w), float32.

        Args:
            size: (depth, height, width) voxels of the volume.
        """
        return merged(self.projection(maps), size, self.feature_stride)

    def coarse_features(
        self,
        image: Float[Tensor, "channels depth height width"],
        spacing: Spacing = (1.0, 1.0, 1.0),
        cache: FeatureCache | None = None,
    ) -> list[Float[Tensor, "_ _ _ _"]]:
        """Features of a whole preprocessed volume, as a new case needs them; through a cache if one is given."""
        return self.project((cache or self.extractor)(image, spacing), image.shape[1:])

    def forward(
        self,
        image: Float[Tensor, "batch channels depth height width"],
        features: Float[Tensor, "batch components d h w"] | None = None,
    ) -> Float[Tensor, "batch classes depth height width"]:
        """Logits of a patch.

        Raises:
            RunError: without features.
            ShapeError: if they do not lie on the voxels of the image (on every second, with "levels"), or their number
                is not `components`.
        """
        if features is None:
            raise RunError("borrowed features are missing from the batch; sample coarse_features where the patch lies")
        grid = [-(-n // self.feature_stride) for n in image.shape[2:]]
        wanted = (len(image), self.projection.components, *grid)
        if tuple(features.shape) != wanted:
            raise ShapeError(f"image {tuple(image.shape)} needs features {wanted}, got {tuple(features.shape)}")
        features = F.dropout3d(features.to(image.dtype), self.channel_dropout, self.training)
        if self.inject == "levels":
            return self.unet(image, features)
        return self.unet(torch.cat([image, features], dim=1))

    def loss(self, batch: VolumeBatch) -> Float[Tensor, ""]:
        """Dice plus cross-entropy of the patches."""
        return self.criterion(self(batch.image, batch.features), batch.label)

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """One group: the U-Net; nothing else learns by gradient."""
        return parameter_groups(self.unet, rate)

    def set_progress(self, progress: float) -> None:
        """Nothing changes over the budget."""
