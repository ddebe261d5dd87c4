"""k nearest neighbours and interpolation between points."""

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from dimlift.errors import ShapeError
from dimlift.geometry.sampling import gather_points

MAX_DISTANCES = 2**25
"""Distances in memory at a time (128 MB in single precision), for point clouds of any size."""
MIN_TREE_POINTS = 2048
"""Number of points from which a k-d tree is used on the CPU."""


def knn(
    queries: Float[Tensor, "batch queries 3"], points: Float[Tensor, "batch points 3"], k: int
) -> tuple[Float[Tensor, "batch queries k"], Int[Tensor, "batch queries k"]]:
    """Return distances and indices of the k nearest points of every query, nearest first.

    Distances have no gradient. Large point clouds on the CPU are searched with scipy's k-d tree, others with blocks of
    the distance matrix, so that memory does not grow with the product of the sizes.

    Raises:
        ShapeError: if there are fewer than k points.
    """
    if not 1 <= k <= points.shape[1]:
        raise ShapeError(f"{k} neighbours requested of {points.shape[1]} points; use 1 to {points.shape[1]}")
    with torch.no_grad():
        use_tree = points.device.type == "cpu" and points.shape[1] >= MIN_TREE_POINTS
        search = _knn_tree if use_tree else _knn_blocks
        results = [search(q, p, k) for q, p in zip(queries, points, strict=True)]
    distances, indices = zip(*results, strict=True)
    return torch.stack(distances), torch.stack(indices)


def interpolate(
    queries: Float[Tensor, "batch queries 3"],
    points: Float[Tensor, "batch points 3"],
    values: Float[Tensor, "batch points channels"],
    k: int = 3,
    eps: float = 1e-8,
) -> Float[Tensor, "batch queries channels"]:
    """Return values at the queries: inverse squared distance weighting of the k nearest points (PointNet++).

    Args:
        queries: positions of the result.
        points: positions of the values.
        values: values at the points.
        k: number of neighbours.
        eps: added to squared distances; a query on a point gets the value of that point.
    """
    distances, indices = knn(queries, points, min(k, points.shape[1]))
    weights = 1 / (distances.square() + eps)
    weights = weights / weights.sum(-1, keepdim=True)
    return (gather_points(values, indices) * weights[..., None]).sum(-2)


def _knn_tree(queries: Tensor, points: Tensor, k: int) -> tuple[Tensor, Tensor]:
    tree = cKDTree(points.double().numpy(), balanced_tree=False)
    distances, indices = tree.query(queries.double().numpy(), k=[*range(1, k + 1)])
    return torch.from_numpy(distances).to(queries), torch.from_numpy(indices.astype(np.int64))


def _knn_blocks(queries: Tensor, points: Tensor, k: int) -> tuple[Tensor, Tensor]:
    rows = max(1, MAX_DISTANCES // len(points))
    exact = "donot_use_mm_for_euclid_dist"  # |a|^2 + |b|^2 - 2ab loses all precision far from the origin
    blocks = [torch.cdist(b, points, compute_mode=exact).topk(k, largest=False) for b in queries.split(rows)]
    return torch.cat([block.values for block in blocks]), torch.cat([block.indices for block in blocks])
