"""nnU-Net's rule for anisotropic volumes, applied to the stages of a 2D network."""

import math
from collections.abc import Sequence

from dimlift.errors import PlanError

MAX_ANISOTROPY = 2.0
"""Two spacings whose ratio is below this are treated alike (nnU-Net's network topology)."""


def depth_by_stage(
    spacing: Sequence[float], strides: Sequence[float], can_halve: Sequence[bool] | None = None
) -> tuple[tuple[bool, ...], tuple[int, ...]]:
    """Decide for each stage whether it mixes along depth, and by what factor depth is pooled after it.

    A stage mixes along depth if the slice distance is below twice the pixel distance of its map. From there on depth is
    halved after a stage unless slices would be further apart than twice the pixels.

    Args:
        spacing: (z, y, x) in millimetres.
        strides: in-plane stride of each stage's map, in voxels.
        can_halve: whether depth can be halved after each stage; True for all if None.

    Returns:
        Whether each stage mixes along depth, and the pooling factor (1 or 2) after each stage.

    Raises:
        PlanError: if spacing is not three positive, finite numbers.
    """
    valid = [s for s in spacing if isinstance(s, int | float) and math.isfinite(s) and s > 0]
    if len(valid) != 3 or len(spacing) != 3:
        raise PlanError(
            f"spacing must be three positive numbers (z, y, x) in millimetres, got {spacing}; take it from the header "
            "of a volume"
        )
    slice_distance, in_plane = spacing[0], min(spacing[1:])
    mixes, factors = [], []
    for stride, halve in zip(strides, can_halve or [True] * len(strides), strict=True):
        pixel = in_plane * stride
        mixes.append(slice_distance < MAX_ANISOTROPY * pixel)
        factors.append(2 if halve and 2 * slice_distance <= MAX_ANISOTROPY * pixel else 1)
        slice_distance *= factors[-1]
    return tuple(mixes), tuple(factors)
