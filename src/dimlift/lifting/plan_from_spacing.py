"""nnU-Net's rule for anisotropic volumes, read as a depth plan."""

import math
from collections.abc import Sequence

from dimlift.errors import PlanError

CLOSE = 2.0
"""Two spacings closer than this factor are treated alike (nnU-Net's network topology)."""


def depth_by_stage(
    spacing: Sequence[float], strides: Sequence[float], reducible: Sequence[bool] | None = None
) -> tuple[tuple[bool, ...], tuple[int, ...]]:
    """Whether slices talk in each stage, and by what depth is reduced behind it.

    Slices talk in a stage once their distance is less than twice the pixel distance there, and from then on depth is
    halved wherever that does not make slices coarser than twice the pixels.

    Args:
        spacing: (z, y, x) in millimetres.
        strides: in-plane stride of each stage's map, in voxels.
        reducible: stages behind which depth can be halved; all if not given.

    Returns:
        (talking, reductions), one entry a stage.

    Raises:
        PlanError: for a spacing that is not three positive, finite numbers.
    """
    given = [s for s in spacing if isinstance(s, int | float) and math.isfinite(s) and s > 0]
    if len(given) != 3 or len(spacing) != 3:
        raise PlanError(
            f"spacing must be three positive numbers (z, y, x) in millimetres, got {spacing}; take it from the header "
            "of a volume"
        )
    between, in_plane = spacing[0], min(spacing[1:])
    talking, reductions = [], []
    for stride, may in zip(strides, reducible or [True] * len(strides), strict=True):
        pixel = in_plane * stride
        talking.append(between < CLOSE * pixel)
        reductions.append(2 if may and 2 * between <= CLOSE * pixel else 1)
        between *= reductions[-1]
    return tuple(talking), tuple(reductions)
