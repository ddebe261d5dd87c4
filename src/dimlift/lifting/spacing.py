"""nnU-Net's rule for anisotropic volumes, read as a depth plan."""

import math

from dimlift.errors import PlanError

CLOSE = 2.0
"""Two spacings closer than this factor are treated alike (nnU-Net's network topology)."""


def depth_by_stage(
    spacing: tuple[float, float, float], strides: tuple[int, ...], kernel: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Depth kernel and depth reduction of each stage.

    Slices talk in a stage once their distance is less than twice the pixel distance there, and from then on depth is
    halved wherever that does not make slices coarser than twice the pixels.

    Args:
        spacing: (z, y, x) in millimetres.
        strides: in-plane stride of each stage's map.
        kernel: depth kernel where slices talk.

    Returns:
        (kernels, reductions), one entry a stage.

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
    kernels, reductions = [], []
    for stride in strides:
        pixel = in_plane * stride
        kernels.append(kernel if between < CLOSE * pixel else 1)
        reductions.append(2 if 2 * between <= CLOSE * pixel else 1)
        between *= reductions[-1]
    return tuple(kernels), tuple(reductions)
