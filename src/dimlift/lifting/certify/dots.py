"""Responses of a lifted network to bright dots: where they are, and how far from the dots."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

BRIGHTNESS = 10.0
"""Added to a voxel, where the volume has a standard deviation of about one."""

VOXELS_AT_ONCE = 500_000

Voxel = tuple[int, int, int]
"""(z, y, x)"""


def dot_positions(size: tuple[int, ...], strides: Sequence[Sequence[float]]) -> list[Voxel]:
    """Return voxels at the corners of a volume, at its centre, and on both sides of seams between cells."""
    depth, height, width = size
    last = (depth - 1, height - 1, width - 1)
    seam = [min(int(max((stride[axis] for stride in strides), default=1)), last[axis]) for axis in range(3)]
    dots = [
        (0, 0, 0),
        last,
        (0, 0, last[2]),
        (last[0], last[1], 0),
        (depth // 2, height // 2, width // 2),
        (seam[0], max(0, seam[1] - 1), seam[2]),
        (0, seam[1], max(0, seam[2] - 1)),
    ]
    return list(dict.fromkeys(dots))


def responses_to_dots(lifted: nn.Module, volume: Tensor, dots: Sequence[Voxel]) -> list[Float[Tensor, "dots ..."]]:
    """Return, for each output, how much it changes with each dot: at every cell of a map, or at all.

    Args:
        lifted: the network, in eval mode.
        volume: a volume without dots, (1, C, D, H, W).
        dots: their positions.
    """
    dotted = volume.repeat(len(dots), 1, 1, 1, 1)
    for index, (z, y, x) in enumerate(dots):
        dotted[index, :, z, y, x] += BRIGHTNESS * volume.std().clamp_min(1e-3)
    plain = _outputs(lifted, volume)
    chunk = max(1, VOXELS_AT_ONCE // volume.numel())
    parts = [_outputs(lifted, part) for part in dotted.split(chunk)]
    responses = []
    for index, before in enumerate(plain):
        change = (torch.cat([part[index] for part in parts]) - before).double().square()
        responses.append(change.sum(1) if change.ndim == 5 else change.flatten(1).sum(1))
    return responses


def worst_distance(
    rounds: Sequence[Sequence[Tensor]],
    dots: Sequence[Voxel],
    strides: Sequence[Sequence[float]],
    starts: Sequence[Sequence[float]],
    most: bool,
) -> float | None:
    """Return the largest distance, in strides and along one axis, from a dot to the cell that responds to it.

    Of several rounds, the nearest response counts. A dot outside the extent of a grid counts as one at its border.

    Args:
        rounds: what `responses_to_dots` returned for several volumes.
        dots: the first of its positions.
        strides: of each map.
        starts: of each map.
        most: measure to the cell that changes most; otherwise to the nearest that changes at all.

    Returns:
        The distance; None if some dot changes no cell of a map in any round.
    """
    worst = 0.0
    for level, (stride, start) in enumerate(zip(strides, starts, strict=True)):
        for index, dot in enumerate(dots):
            found = [_distance(responses[level][index], dot, stride, start, most) for responses in rounds]
            known = [distance for distance in found if distance is not None]
            if not known:
                return None
            worst = max(worst, min(known))
    return worst


def _distance(
    response: Float[Tensor, "d h w"], dot: Voxel, stride: Sequence[float], start: Sequence[float], most: bool
) -> float | None:
    if not bool(response.any()):
        return None
    cells = (response == response.max() if most else response > 0).nonzero().to(torch.float64)
    step, first = cells.new_tensor(stride), cells.new_tensor(start)
    end = first + step * cells.new_tensor(response.shape)
    place = torch.minimum(torch.maximum(cells.new_tensor(dot) + 0.5, first), end)
    return float((((cells + 0.5) * step + first - place) / step).abs().amax(1).min())


def _outputs(lifted: nn.Module, volume: Tensor) -> list[Tensor]:
    with torch.no_grad():
        out = lifted(volume)
    return list(out) if isinstance(out, list | tuple) else [out]
