"""Who lies next to whom: k nearest neighbours, neighbours within a radius, and values between points."""

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from dimlift.errors import ShapeError
from dimlift.geometry.sampling import gather_points

PAIRS_AT_ONCE = 2**25
"""Distances held in memory at a time (128 MB in single precision), whatever the size of the clouds."""
TREE_FROM = 2048
"""Clouds of at least this many points are searched with a k-d tree where they lie on the processor."""


def nearest(
    queries: Float[Tensor, "batch queries 3"], points: Float[Tensor, "batch points 3"], k: int
) -> tuple[Float[Tensor, "batch queries k"], Int[Tensor, "batch queries k"]]:
    """Distances and indices of the k nearest points of every query, nearest first.

    Distances carry no gradient. Large clouds on the processor go through scipy's k-d tree, everything else through
    blocks of the distance matrix, so that memory does not grow with the product of the sizes.

    Raises:
        ShapeError: if there are fewer than k points.
    """
    if not 1 <= k <= points.shape[1]:
        raise ShapeError(f"{k} neighbours asked for among {points.shape[1]} points; ask for 1 to {points.shape[1]}")
    with torch.no_grad():
        search = _by_tree if points.device.type == "cpu" and points.shape[1] >= TREE_FROM else _by_blocks
        found = [search(one, other, k) for one, other in zip(queries, points, strict=True)]
    distances, indices = zip(*found, strict=True)
    return torch.stack(distances), torch.stack(indices)


def within(
    queries: Float[Tensor, "batch queries 3"], points: Float[Tensor, "batch points 3"], radius: float, k: int
) -> Int[Tensor, "batch queries k"]:
    """Indices of up to k points within `radius` of every query, nearest first (PointNet++'s ball query).

    Where there are fewer, the nearest point is repeated; so it is where there is none.
    """
    k = min(k, points.shape[1])
    distances, indices = nearest(queries, points, k)
    return torch.where(distances <= radius, indices, indices[..., :1])


def interpolate(
    queries: Float[Tensor, "batch queries 3"],
    points: Float[Tensor, "batch points 3"],
    values: Float[Tensor, "batch points channels"],
    k: int = 3,
    floor: float = 1e-8,
) -> Float[Tensor, "batch queries channels"]:
    """Values at the queries: the k nearest points' values, weighted by inverse squared distance (PointNet++).

    Args:
        floor: added to squared distances; a query on a point gets that point's value.
    """
    distances, indices = nearest(queries, points, min(k, points.shape[1]))
    weights = 1 / (distances.square() + floor)
    weights = weights / weights.sum(-1, keepdim=True)
    return (gather_points(values, indices) * weights[..., None]).sum(-2)


def _by_tree(queries: Tensor, points: Tensor, k: int) -> tuple[Tensor, Tensor]:
    tree = cKDTree(points.double().numpy(), balanced_tree=False)
    distances, indices = tree.query(queries.double().numpy(), k=[*range(1, k + 1)])
    return torch.from_numpy(distances).to(queries), torch.from_numpy(indices.astype(np.int64))


def _by_blocks(queries: Tensor, points: Tensor, k: int) -> tuple[Tensor, Tensor]:
    rows = max(1, PAIRS_AT_ONCE // len(points))
    exact = "donot_use_mm_for_euclid_dist"  # |a|^2 + |b|^2 - 2ab cancels to nothing far from the origin
    found = [torch.cdist(b, points, compute_mode=exact).topk(k, largest=False) for b in queries.split(rows)]
    return torch.cat([each.values for each in found]), torch.cat([each.indices for each in found])
