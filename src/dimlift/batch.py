"""Batches: made by `data`, consumed by `methods` and `training`."""

from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

IGNORE = -1
"""Label of voxels and points without annotation: no loss, no sampling, no score."""


class VolumeBatch(NamedTuple):
    """Patches of labelled volumes.

    Attributes:
        image: normalised intensities; depth is the through-plane axis.
        label: class of every voxel (segmentation, integer, `IGNORE` without annotation), one class per volume
            (classification, integer), or one number per volume (regression, float).
        cases: name of the case of each patch, for messages.
        features: frozen 2D features on the voxels of the patch, or on every second voxel along each axis; None if the
            method uses none.
    """

    image: Float[Tensor, "batch channels depth height width"]
    label: Num[Tensor, " batch *grid"]
    cases: tuple[str, ...]
    features: Float[Tensor, "batch components d h w"] | None = None


class ImageBatch(NamedTuple):
    """Images.

    Attributes:
        image: RGB values from 0 to 1.
        label: class of every image; None without labels.
        cases: file of each image, for messages.
    """

    image: Float[Tensor, "batch channels height width"]
    label: Num[Tensor, " batch"] | None
    cases: tuple[str, ...]


class PairedBatch(NamedTuple):
    """Volumes and unrelated images for the same training step.

    Attributes:
        volumes: patches of the task.
        images: images of a second loss.
    """

    volumes: VolumeBatch
    images: ImageBatch

    @property
    def cases(self) -> tuple[str, ...]:
        """Names of the volumes and of the images."""
        return self.volumes.cases + self.images.cases

    @property
    def image(self) -> Tensor:
        """The patches, which determine the memory of a step."""
        return self.volumes.image


class PointBatch(NamedTuple):
    """Point clouds with equal numbers of points.

    Attributes:
        points: coordinates.
        label: class of every point, or one class per point cloud; `IGNORE` without annotation; None without labels.
        cases: name of each point cloud, for messages.
        features: further features of each point (colour from 0 to 1, normal, projected image features).
    """

    points: Float[Tensor, "batch points 3"]
    label: Num[Tensor, " batch *points"] | None
    cases: tuple[str, ...]
    features: Float[Tensor, "batch points channels"] | None = None

    @property
    def image(self) -> Tensor:
        """The points, which determine the memory of a step."""
        return self.points


class FrameBatch(NamedTuple):
    """RGB-D frames: images, points measured with them, and which pixel shows which point.

    Attributes:
        image: RGB values from 0 to 1.
        points: points of all frames, concatenated, in metres.
        colours: RGB values of the points, from 0 to 1.
        frame: index of each point's frame, ascending.
        pair_points: row of the point of each pair.
        pair_uv: (x, y) of its pixel in the image of the point's frame, from -1 to 1, as in `grid_sample` with
            align_corners=False.
        cases: name of each frame, for messages.
        pair_segments: superpixel of each pair's pixel, numbered over all images; None if the method uses none.
    """

    image: Float[Tensor, "batch 3 height width"]
    points: Float[Tensor, "points 3"]
    colours: Float[Tensor, "points 3"]
    frame: Int[Tensor, " points"]
    pair_points: Int[Tensor, " pairs"]
    pair_uv: Float[Tensor, "pairs 2"]
    cases: tuple[str, ...]
    pair_segments: Int[Tensor, " pairs"] | None = None


Batch = VolumeBatch | ImageBatch | PairedBatch | PointBatch | FrameBatch
AnyBatch = TypeVar("AnyBatch", bound=tuple[Any, ...])


def on_device(batch: AnyBatch, device: torch.device) -> AnyBatch:
    """Move a batch to a device; images and volumes are converted to channels-last memory."""

    def move(part: Any) -> Any:
        if isinstance(part, Tensor):
            layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(part.ndim)
            if layout is not None and part.is_floating_point():
                return part.to(device, memory_format=layout, non_blocking=True)
            return part.to(device, non_blocking=True)
        return on_device(part, device) if isinstance(part, tuple) and hasattr(part, "_fields") else part

    return type(batch)(*map(move, batch))
