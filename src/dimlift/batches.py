"""What a batch is: `data` and `experiments` make batches, `methods` learn from them."""

from typing import NamedTuple

from jaxtyping import Float, Num
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


IGNORE = -1
"""Label value of voxels that carry no annotation: no loss, no sampling, no score."""
