"""What a batch is: `data` and `experiments` make batches, `methods` learn from them."""

from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor


class VolumeBatch(NamedTuple):
    """Patches of labelled volumes, side by side.

    Attributes:
        image: normalised intensities. Depth is the through-plane axis.
        label: class of every voxel (segmentation, integer; `IGNORE` where nobody annotated), or one class per
            volume (classification, integer), or one number per volume (regression, float).
        cases: the name of the case each patch was cut from, for messages.
        features: borrowed 2D features on the voxels of the patch, or on every second of them along each axis, if the
            method asked for them.
    """

    image: Float[Tensor, "batch channels depth height width"]
    label: Num[Tensor, " batch *grid"]
    cases: tuple[str, ...]
    features: Float[Tensor, "batch components d h w"] | None = None


class ImageBatch(NamedTuple):
    """Pictures beside each other.

    Attributes:
        image: values from 0 to 1, red, green, blue.
        label: class of every picture; None where nobody says.
        cases: the file of each picture, for messages.
    """

    image: Float[Tensor, "batch channels height width"]
    label: Num[Tensor, " batch"] | None
    cases: tuple[str, ...]


class PairedBatch(NamedTuple):
    """Volumes and pictures that are learnt from in the same step; not of each other.

    Attributes:
        volumes: the patches of the task.
        pictures: what is to be remembered, or learnt beside it.
    """

    volumes: VolumeBatch
    pictures: ImageBatch

    @property
    def cases(self) -> tuple[str, ...]:
        """Names of the volumes and of the pictures."""
        return self.volumes.cases + self.pictures.cases

    @property
    def image(self) -> Tensor:
        """The patches, by whose size a step's memory is judged."""
        return self.volumes.image


class PointBatch(NamedTuple):
    """Clouds of points beside each other, all with the same number of points.

    Attributes:
        points: coordinates.
        label: class of every point, or one class per cloud; `IGNORE` where nobody says; None where nobody is asked.
        cases: the name of each cloud, for messages.
        features: what else is known of each point (colour from 0 to 1, normal, painted 2D features).
    """

    points: Float[Tensor, "batch points 3"]
    label: Num[Tensor, " batch *points"] | None
    cases: tuple[str, ...]
    features: Float[Tensor, "batch points channels"] | None = None

    @property
    def image(self) -> Tensor:
        """The clouds, by whose size a step's memory is judged."""
        return self.points


class FrameBatch(NamedTuple):
    """Pictures, the points that were measured beside them, and which pixel shows which point.

    Attributes:
        image: values from 0 to 1, red, green, blue.
        points: of all frames one after the other, in metres.
        colours: of the points, from 0 to 1.
        frame: index of each point's frame, in ascending order.
        pair_points: row of the point of each pair.
        pair_places: (x, y) of its pixel in the picture of the point's frame, from -1 to 1, as `grid_sample` with
            align_corners=False reads.
        cases: the name of each frame, for messages.
        pair_segments: superpixel of each pair's pixel, numbered through all pictures; None where nobody asked.
    """

    image: Float[Tensor, "batch 3 height width"]
    points: Float[Tensor, "points 3"]
    colours: Float[Tensor, "points 3"]
    frame: Int[Tensor, " points"]
    pair_points: Int[Tensor, " pairs"]
    pair_places: Float[Tensor, "pairs 2"]
    cases: tuple[str, ...]
    pair_segments: Int[Tensor, " pairs"] | None = None


Batch = VolumeBatch | ImageBatch | PairedBatch | PointBatch | FrameBatch
AnyBatch = TypeVar("AnyBatch", bound=tuple[Any, ...])


def on_device(batch: AnyBatch, device: torch.device) -> AnyBatch:
    """The batch on a device; images and volumes with their channels innermost, everything else as it is."""

    def moved(part: Any) -> Any:
        if isinstance(part, Tensor):
            layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(part.ndim)
            if layout is not None and part.is_floating_point():
                return part.to(device, memory_format=layout, non_blocking=True)
            return part.to(device, non_blocking=True)
        return on_device(part, device) if isinstance(part, tuple) and hasattr(part, "_fields") else part

    return type(batch)(*map(moved, batch))


IGNORE = -1
"""Label value of voxels that carry no annotation: no loss, no sampling, no score."""
