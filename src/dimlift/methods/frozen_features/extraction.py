"""Extraction of features: every slice of a volume through a frozen 2D network, kept as coarse maps of the volume.

A map covers the volume from its first to its last voxel, with pixel centres at +0.5: `grid_sample` at the normalised
coordinates of the volume (`align_corners=False`) returns the features at that position, for every plane.
"""

import math
from collections.abc import Sequence
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float16
from torch import Tensor

from dimlift.errors import RunError, ShapeError
from dimlift.lifting.slice_padding import SlicePadding
from dimlift.methods.frozen_features.backbone import SliceBackbone, open_slice_backbone
from dimlift.methods.frozen_features.feature_augmentation import IDENTITY, FeatureAugmentation
from dimlift.methods.frozen_features.projection import fixed_projection
from dimlift.methods.frozen_features.receptive_field import MapGeometry, align_maps, measure_maps
from dimlift.methods.frozen_features.settings import PLANES, FeatureExtractionSettings

Spacing = tuple[float, float, float]
PIXELS_AT_ONCE = 16 * 224 * 224


class FeatureExtractor:
    """Feature extractor for volumes, with a frozen network and without trainable parameters.

    Args:
        settings: which features to extract.
        backbone: replaces the network of the settings (see `wrap_backbone`).
    """

    def __init__(self, settings: FeatureExtractionSettings, backbone: SliceBackbone | None = None) -> None:
        self.settings = settings
        self.backbone = backbone or open_slice_backbone(settings)
        self.device = torch.device("cpu")

    def to(self, device: torch.device | str) -> "FeatureExtractor":
        """Move the network to a device; features are returned on the CPU."""
        self.device = torch.device(device)
        self.backbone.frozen.to(device)
        return self

    @cached_property
    def map_geometry(self) -> list[MapGeometry]:
        """Strides, channels and measured shifts of the selected maps; the measurement takes some tenths of a second."""
        return measure_maps(self.backbone, self.settings.stages, self.device)

    @cached_property
    def slice_padding(self) -> SlicePadding:
        """Padding of slices to sizes of which the network reads every pixel, and which whole cells fill."""
        whole = self.backbone.find_padding()
        if any(whole.remainder):
            return whole
        multiple = math.lcm(*whole.multiple, *(geometry.stride for geometry in self.map_geometry))
        return SlicePadding((multiple, multiple))

    @cached_property
    def digest(self) -> str:
        """Digest of the weights of the network."""
        return self.backbone.frozen.digest()

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each map of a volume: for each plane of the settings, each stage."""
        kept = [min(geometry.channels, self.settings.cache_channels) for geometry in self.map_geometry]
        return tuple(kept * len(self.settings.planes))

    def grids(self, size: Sequence[int], spacing: Spacing = (1.0, 1.0, 1.0)) -> list[tuple[int, ...]]:
        """Return (depth, height, width) of each map of a volume of `size` voxels."""
        grids = []
        for plane in self.settings.planes:
            axis = PLANES.index(plane)
            image_size = self.image_size(size, spacing, axis)
            for geometry in self.map_geometry:
                in_plane = [-(-side // geometry.stride) for side in image_size]
                grids.append((*in_plane[:axis], size[axis], *in_plane[axis:]))
        return grids

    def __call__(
        self,
        image: Float[Tensor, "channels depth height width"],
        spacing: Spacing = (1.0, 1.0, 1.0),
        augmentation: FeatureAugmentation = IDENTITY,
    ) -> list[Float16[Tensor, "kept d h w"]]:
        """Extract the maps of a volume, one per plane and stage, on the CPU.

        Args:
            image: a whole preprocessed volume.
            spacing: (z, y, x) millimetres between voxels, used to make slices isotropic.
            augmentation: applied to the volume first.

        Raises:
            ShapeError: if the channels of the volume cannot be passed to a 2D network.
            RunError: if a map has values that do not fit half precision.
        """
        scaled = augmentation(self._scale_intensities(image.to(self.device, torch.float32)))
        maps: list[Tensor] = []
        for plane in self.settings.planes:
            maps.extend(self._plane_maps(scaled, PLANES.index(plane), spacing, augmentation.upsample))
        for each in maps:
            if not torch.isfinite(each).all():
                raise RunError(
                    f"{self.settings.network} has features beyond half precision, or NaN; check the image for NaN, or "
                    "leave out the stage"
                )
        return maps

    def _plane_maps(self, scaled: Tensor, axis: int, spacing: Spacing, upsample: float) -> list[Tensor]:
        slices = scaled.movedim(axis + 1, 0)  # (slices, channels, rows, columns)
        image_size = self.image_size(scaled.shape[1:], spacing, axis, upsample)
        chunk = max(1, PIXELS_AT_ONCE // (image_size[0] * image_size[1]))
        parts: list[list[Tensor]] = [[] for _ in self.map_geometry]
        for group in slices.split(chunk):
            for part, kept in zip(parts, self.images_to_maps(group, image_size), strict=True):
                part.append(kept)
        # (slices, kept, rows, columns) -> (kept, ...) with the slices back on their axis
        return [torch.cat(part).movedim(0, axis + 1).contiguous() for part in parts]

    def images_to_maps(self, slices: Tensor, image_size: tuple[int, int]) -> list[Float16[Tensor, "slices kept h w"]]:
        """Return projected maps of each stage for slices (N, C, rows, columns) that are resized to `image_size`."""
        shrinking = image_size[0] < slices.shape[2] or image_size[1] < slices.shape[3]
        resized = F.interpolate(slices, image_size, mode="bilinear", align_corners=False, antialias=shrinking)
        padded = self.slice_padding(resized[:, :, None])[:, :, 0]
        outputs = self.backbone(padded.to(memory_format=torch.channels_last))
        maps = []
        for geometry in self.map_geometry:
            features = outputs[geometry.stage].float() / geometry.scale
            projection = fixed_projection(
                geometry.stage, geometry.channels, self.settings.cache_channels, self.settings.seed
            )
            if projection is not None:
                features = torch.einsum("kc,nchw->nkhw", projection.to(features), features)
            maps.append(align_maps(features, geometry, image_size).to("cpu", torch.float16))
        return maps

    def image_size(self, size: Sequence[int], spacing: Spacing, axis: int, upsample: float = 1.0) -> tuple[int, int]:
        """Return the (rows, columns) to which slices across `axis` are resized.

        Args:
            size: (depth, height, width) voxels of the volume.
            spacing: (z, y, x) millimetres between voxels; the resized slices are isotropic.
            axis: axis across which slices are cut.
            upsample: factor in addition to that of the settings.
        """
        in_plane = [i for i in range(3) if i != axis]
        finest = min(spacing[i] for i in in_plane)
        rows, columns = (
            max(1, round(size[i] * self.settings.upsample * upsample * spacing[i] / finest)) for i in in_plane
        )
        return rows, columns

    def _scale_intensities(self, image: Tensor) -> Tensor:
        """Return the selected channels, each scaled from its percentiles to [0, 1]."""
        chosen = self.settings.input_channels or tuple(range(len(image)))
        if len(chosen) not in (1, 3) or max(chosen) >= len(image):
            raise ShapeError(
                f"a 2D network takes one channel or three, the volume has {len(image)} and the settings select "
                f"{self.settings.input_channels or 'all'}; set input_channels to one or three channels"
            )
        selected = image[list(chosen)]
        low, high = self.settings.percentiles
        bounds = _quantiles(selected.flatten(1), (low / 100, high / 100))
        low_value, high_value = bounds[:, :1, None, None], bounds[:, 1:, None, None]
        return ((selected - low_value) / (high_value - low_value).clamp_min(1e-12)).clamp(0, 1)


def _quantiles(
    values: Float[Tensor, "channels voxels"], fractions: tuple[float, ...]
) -> Float[Tensor, "channels fractions"]:
    """Return nearest-rank quantiles, for more than the 16 million values that torch.quantile accepts."""
    ordered = values.sort(dim=1).values
    ranks = [round(fraction * (values.shape[1] - 1)) for fraction in fractions]
    return ordered[:, ranks]
