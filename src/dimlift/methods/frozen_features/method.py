"""3D U-Net on the image and the features of a frozen 2D network.

2D pretraining enters as extra channels and costs one pass over the slices of each volume, independent of the number of
training steps. Features of one network as input of another: Sharif Razavian et al., 2014,
https://arxiv.org/abs/1403.6382; the feature channels of volumes are this project's.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.batch import VolumeBatch
from dimlift.errors import RunError, ShapeError, UnknownNameError
from dimlift.losses.segmentation import DiceCELoss
from dimlift.methods.frozen_features.cache import FeatureCache
from dimlift.methods.frozen_features.extraction import FeatureExtractor, Spacing
from dimlift.methods.frozen_features.merge import merge_maps
from dimlift.methods.frozen_features.projection import FeatureProjection
from dimlift.methods.method import Method, ParamGroup
from dimlift.methods.supervised.encoder_layers import param_groups_layer_decay
from dimlift.models.feature_fusion_unet import feature_fusion_unet
from dimlift.models.pad_to_multiple import Grid
from dimlift.models.unet import plain_unet

FeatureFusion = Literal["input", "levels"]


class FrozenFeatureUNet(Method[VolumeBatch]):
    """MONAI U-Net on image and frozen features.

    Call order: `fit` on the maps of the training cases, `project` the maps of any case, sample them at the voxels of a
    patch (`sample_features`), `forward(image, features)`. The frozen network is excluded from optimizer and state_dict;
    the fitted projection is part of the state_dict.

    Args:
        extractor: source of the features.
        in_channels: channels of the image.
        num_classes: number of classes, background included.
        num_components: channels of the features, over all maps.
        fusion: "input" concatenates features to the image at full resolution; "levels" adds them behind the blocks of
            the U-Net, from half resolution on: an eighth of the voxels, and initially the plain U-Net.
        widths: channels of the levels of the U-Net.
        residual_units: convolutions per block.
        strides: (z, y, x) between the levels; 2 everywhere if None.
        channel_dropout: fraction of the feature channels set to zero in each training patch.
        criterion: Dice plus cross-entropy if None.

    Raises:
        UnknownNameError: for an unknown `fusion`.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        in_channels: int,
        num_classes: int,
        *,
        num_components: int = 24,
        fusion: FeatureFusion = "input",
        widths: Sequence[int] = (16, 32, 64, 128),
        residual_units: int = 0,
        strides: Sequence[Grid] | None = None,
        channel_dropout: float = 0.1,
        criterion: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if fusion not in get_args(FeatureFusion):
            raise UnknownNameError("fusion", fusion, get_args(FeatureFusion))
        self.extractor = extractor
        self.projection = FeatureProjection(extractor.channels, num_components)
        self.fusion, self.channel_dropout = fusion, channel_dropout
        self.feature_stride = 1 if fusion == "input" else 2
        count = self.projection.num_components
        unet: dict[str, Any] = {"widths": widths, "residual_units": residual_units, "strides": strides}
        self.unet = (
            plain_unet(in_channels + count, num_classes, **unet)
            if fusion == "input"
            else feature_fusion_unet(in_channels, count, num_classes, **unet)
        )
        self.criterion = criterion or DiceCELoss()

    def fit(self, cases: Iterable[Sequence[Float[Tensor, "_ _ _ _"]]]) -> None:
        """Fit the projection on the maps of the training cases only."""
        self.projection.fit(cases)

    @torch.no_grad()
    def project(self, maps: Sequence[Float[Tensor, "_ _ _ _"]], size: Sequence[int]) -> list[Float[Tensor, "_ _ _ _"]]:
        """Return standardised coarse features (K_i, d, h, w), float32, of cached maps of a case.

        Args:
            maps: maps as they come from the cache.
            size: (depth, height, width) voxels of the volume.
        """
        return merge_maps(self.projection(maps), size, self.feature_stride)

    def coarse_features(
        self,
        image: Float[Tensor, "channels depth height width"],
        spacing: Spacing = (1.0, 1.0, 1.0),
        cache: FeatureCache | None = None,
    ) -> list[Float[Tensor, "_ _ _ _"]]:
        """Return the features of a whole preprocessed volume, through a cache if there is one."""
        return self.project((cache or self.extractor)(image, spacing), image.shape[1:])

    def forward(
        self,
        image: Float[Tensor, "batch channels depth height width"],
        features: Float[Tensor, "batch components d h w"] | None = None,
    ) -> Float[Tensor, "batch classes depth height width"]:
        """Return the logits of a patch.

        Raises:
            RunError: without features.
            ShapeError: if features are on another grid than the image (every second voxel, with "levels"), or have
                other channels.
        """
        if features is None:
            raise RunError("the batch has no features; sample coarse_features at the voxels of the patch")
        grid = [-(-n // self.feature_stride) for n in image.shape[2:]]
        expected = (len(image), self.projection.num_components, *grid)
        if tuple(features.shape) != expected:
            raise ShapeError(f"image {tuple(image.shape)} needs features {expected}, got {tuple(features.shape)}")
        features = F.dropout3d(features.to(image.dtype), self.channel_dropout, self.training)
        if self.fusion == "levels":
            return self.unet(image, features)
        return self.unet(torch.cat([image, features], dim=1))

    def loss(self, batch: VolumeBatch) -> Float[Tensor, ""]:
        """Return Dice plus cross-entropy of the patches."""
        return self.criterion(self(batch.image, batch.features), batch.label)

    def param_groups(self, lr: float) -> list[ParamGroup]:
        """Return one group with the parameters of the U-Net; nothing else is trained."""
        return param_groups_layer_decay(self.unet, lr)
