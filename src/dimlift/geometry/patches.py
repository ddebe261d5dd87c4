"""Point patches: centres by farthest point sampling, each with its nearest neighbours."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dimlift.errors import ShapeError
from dimlift.geometry.neighbours import knn
from dimlift.geometry.sampling import farthest_point_sample, gather_points


class Patches(NamedTuple):
    """Patches of point clouds; they may overlap and need not cover every point.

    Attributes:
        chosen: indices of the points that are centres.
        centres: coordinates of the centres.
        members: indices of the points of each patch, nearest first; the centre is one of them.
    """

    chosen: Int[Tensor, "batch patches"]
    centres: Float[Tensor, "batch patches 3"]
    members: Int[Tensor, "batch patches group_size"]


def cut_patches(points: Float[Tensor, "batch points 3"], num_groups: int, group_size: int) -> Patches:
    """Return `num_groups` patches of `group_size` points; independent of the order of the points, except for ties.

    Raises:
        ShapeError: if a coordinate is not finite, or there are fewer points than `num_groups` or `group_size`.
    """
    if points.dim() != 3 or points.shape[-1] != 3:
        raise ShapeError(f"point clouds must be (batch, points, 3), got {tuple(points.shape)}")
    if not torch.isfinite(points).all():
        broken = int((~torch.isfinite(points)).flatten(1).any(1).int().argmax())
        raise ShapeError(f"point cloud {broken} has a coordinate that is NaN or infinite; remove such points")
    if points.shape[1] < max(num_groups, group_size):
        raise ShapeError(
            f"{num_groups} patches of {group_size} points requested of point clouds of {points.shape[1]} points; "
            "sample more points (point_clouds.num_points), or use fewer and smaller patches (num_groups, group_size)"
        )
    index = farthest_point_sample(points, num_groups)
    centres = gather_points(points, index)
    return Patches(index, centres, knn(centres, points, group_size)[1])


def cut_hierarchy(
    points: Float[Tensor, "batch points 3"], num_groups: Sequence[int], group_sizes: Sequence[int]
) -> list[Patches]:
    """Return patches of points, then patches of their centres, and so on, finest first."""
    levels: list[Patches] = []
    for count, size in zip(num_groups, group_sizes, strict=True):
        levels.append(cut_patches(levels[-1].centres if levels else points, count, size))
    return levels


def centre_indices(levels: Sequence[Patches], level: int) -> Int[Tensor, "batch patches"]:
    """Return the indices in the point cloud of the centres of a level."""
    index = levels[level].chosen
    for finer in reversed(levels[:level]):
        index = finer.chosen.gather(1, index)
    return index


def propagate_visibility(
    levels: Sequence[Patches], visible: Bool[Tensor, "batch patches"]
) -> list[Bool[Tensor, "batch _"]]:
    """Return which patches of every level are visible, finest first, given those of the coarsest level.

    A finer patch is visible if it is a member of a visible coarser patch (Zhang et al., Point-M2AE, 2022,
    https://arxiv.org/abs/2205.14401).
    """
    masks = [visible]
    for coarser, finer in zip(reversed(levels[1:]), reversed(levels[:-1]), strict=True):
        members = coarser.members.flatten(1)
        shown = masks[0][..., None].expand_as(coarser.members).flatten(1)
        counts = torch.zeros_like(finer.chosen, dtype=torch.int64).scatter_add(1, members, shown.long())
        masks.insert(0, counts > 0)
    return masks
