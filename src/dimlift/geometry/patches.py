"""Clouds cut into patches: centres spread by farthest point sampling, each with its nearest neighbours."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dimlift.errors import ShapeError
from dimlift.geometry.neighbours import nearest
from dimlift.geometry.sampling import farthest_points, gather_points


class Patches(NamedTuple):
    """Patches of clouds; they overlap, and together need not hold every point.

    Attributes:
        chosen: which of the points each centre is.
        centres: coordinates of the centres.
        members: which points belong to each patch, nearest first; the centre is one of them.
    """

    chosen: Int[Tensor, "batch patches"]
    centres: Float[Tensor, "batch patches 3"]
    members: Int[Tensor, "batch patches neighbours"]


def cut_patches(points: Float[Tensor, "batch points 3"], patches: int, neighbours: int) -> Patches:
    """`patches` patches of `neighbours` points. The order of the points plays no part, ties aside.

    Raises:
        ShapeError: if a coordinate is not finite, or there are fewer points than patches or neighbours.
    """
    if points.dim() != 3 or points.shape[-1] != 3:
        raise ShapeError(f"clouds are (batch, points, 3), got {tuple(points.shape)}")
    if not torch.isfinite(points).all():
        cloud = int((~torch.isfinite(points)).flatten(1).any(1).int().argmax())
        raise ShapeError(f"cloud {cloud} has a coordinate that is NaN or infinite; take such points out first")
    if points.shape[1] < max(patches, neighbours):
        raise ShapeError(
            f"{patches} patches of {neighbours} points asked for in clouds of {points.shape[1]} points; draw more "
            "points of each cloud (clouds.points), or ask for fewer and smaller patches (patches, neighbours)"
        )
    index = farthest_points(points, patches)
    centres = gather_points(points, index)
    return Patches(index, centres, nearest(centres, points, neighbours)[1])


def cut_hierarchy(
    points: Float[Tensor, "batch points 3"], patches: Sequence[int], neighbours: Sequence[int]
) -> list[Patches]:
    """Patches of points, then patches of their centres, and so on, finest first."""
    levels: list[Patches] = []
    for count, near in zip(patches, neighbours, strict=True):
        levels.append(cut_patches(levels[-1].centres if levels else points, count, near))
    return levels


def origin(levels: Sequence[Patches], level: int) -> Int[Tensor, "batch patches"]:
    """Which of the cloud's points the centres of a level are."""
    index = levels[level].chosen
    for below in reversed(levels[:level]):
        index = below.chosen.gather(1, index)
    return index


def seen_below(levels: Sequence[Patches], visible: Bool[Tensor, "batch patches"]) -> list[Bool[Tensor, "batch _"]]:
    """What is visible at every level, finest first, if `visible` is so at the coarsest.

    A finer patch is visible if a visible patch above it holds it (Zhang et al., Point-M2AE, 2022,
    https://arxiv.org/abs/2205.14401).
    """
    found = [visible]
    for above, below in zip(reversed(levels[1:]), reversed(levels[:-1]), strict=True):
        members = above.members.flatten(1)
        shown = found[0][..., None].expand_as(above.members).flatten(1)
        finer = torch.zeros_like(below.chosen, dtype=torch.int64).scatter_add(1, members, shown.long())
        found.insert(0, finer > 0)
    return found
