"""Responses of a lifted network to bright dots: where they are, and how far from the dots."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

BRIGHTNESS = 10.0
"""Added to a voxel, where the volume has a standard deviation of about one."""

HALF = 0.5
"""Of a stride: the largest distance from a voxel to the centre of the cell that holds it."""

VOXELS_AT_ONCE = 500_000

Voxel = tuple[int, int, int]
"""(z, y, x)"""


def dot_positions(size: tuple[int, ...], strides: Sequence[Sequence[float]]) -> list[Voxel]:
    """Return the first and the last voxel of a volume, and voxels on both sides of seams between cells."""
    depth, height, width = size
    last = (depth - 1, height - 1, width - 1)
    seam = [min(int(max((stride[axis] for stride in strides), default=1)), last[axis]) for axis in range(3)]
    dots = [
        (0, 0, 0),
        last,
        (seam[0], max(0, seam[1] - 1), seam[2]),
        (0, seam[1], max(0, seam[2] - 1)),
    ]
    return list(dict.fromkeys(dots))


def responses_to_dots(
    lifted: nn.Module, volume: Tensor, dots: Sequence[Voxel], plain: Sequence[Tensor] | None = None
) -> list[Float[Tensor, "dots ..."]]:
    """Return, for each output, how much it changes with each dot alone: at every cell of a map, or at all.

    Args:
        lifted: the network, in eval mode.
        volume: a volume without dots, (1, C, D, H, W).
        dots: their positions.
        plain: the outputs for this volume, if they are known.
    """
    dotted = volume.repeat(len(dots), 1, 1, 1, 1)
    for index, dot in enumerate(dots):
        _add_dot(dotted[index], dot, volume)
    chunk = max(1, VOXELS_AT_ONCE // volume.numel())
    parts = [_outputs(lifted, part) for part in dotted.split(chunk)]
    plain = _outputs(lifted, volume) if plain is None else plain
    return [_change(torch.cat([part[index] for part in parts]), before) for index, before in enumerate(plain)]


def responses_to_all_dots(
    lifted: nn.Module,
    volume: Tensor,
    dots: Sequence[Voxel],
    strides: Sequence[Sequence[float]],
    starts: Sequence[Sequence[float]],
    plain: Sequence[Tensor],
) -> list[Float[Tensor, "dots d h w"]]:
    """Return, for each map, how much it changes with all dots in one volume, at the cost of one forward.

    The response to one dot is that of all cells but those within half a stride of another dot.

    Args:
        lifted: the network, in eval mode.
        volume: a volume without dots, (1, C, D, H, W).
        dots: their positions.
        strides: of each map.
        starts: of each map.
        plain: the maps of this volume.
    """
    dotted = volume.clone()
    for dot in dots:
        _add_dot(dotted[0], dot, volume)
    responses = []
    for after, before, stride, start in zip(_outputs(lifted, dotted), plain, strides, starts, strict=True):
        change = _change(after, before)[0]
        near = torch.stack([_distances(change, dot, stride, start) <= HALF for dot in dots])
        responses.append(change * (near | ~near.any(0)))
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
    cells = response == response.max() if most else response > 0
    return float(_distances(response, dot, stride, start)[cells].min())


def _distances(
    response: Float[Tensor, "d h w"], dot: Voxel, stride: Sequence[float], start: Sequence[float]
) -> Float[Tensor, "d h w"]:
    """Return the distance from a dot to the centre of every cell, in strides and along the axis where it is largest."""
    distances = []
    for side, voxel, step, first in zip(response.shape, dot, stride, start, strict=True):
        place = min(max(voxel + 0.5, first), first + step * side)
        centres = (torch.arange(side, dtype=torch.float64, device=response.device) + 0.5) * step + first
        distances.append((centres - place).abs() / step)
    depth, height, width = distances
    return torch.maximum(torch.maximum(depth[:, None, None], height[:, None]), width)


def _add_dot(dotted: Float[Tensor, "c d h w"], dot: Voxel, volume: Tensor) -> None:
    z, y, x = dot
    dotted[:, z, y, x] += BRIGHTNESS * volume.std().clamp_min(1e-3)


def _change(after: Tensor, before: Tensor) -> Tensor:
    """Return the squared change of maps at every cell, or of other outputs."""
    change = (after - before).double().square()
    return change.sum(1) if change.ndim == 5 else change.flatten(1).sum(1)


def _outputs(lifted: nn.Module, volume: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return as_list(lifted(volume))


def as_list(out: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """Return the outputs of a lifted network as a list."""
    return [out] if isinstance(out, Tensor) else list(out)
