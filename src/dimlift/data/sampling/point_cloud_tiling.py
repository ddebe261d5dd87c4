"""Tile a point cloud for networks with a fixed number of input points, so that every point is predicted."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Rows = NDArray[np.intp]


def tile_point_cloud(
    points: NDArray[np.float32], num_points: int, crop_radius: float | None = None
) -> Iterator[tuple[Rows, NDArray[np.float32]]]:
    """Yield tiles of `num_points` points that together hold every point at least once; always the same ones.

    Points are sampled as in training, over the whole point cloud or over a sphere, so that the density is that of the
    training. The last tile of a sphere is filled up with points of other tiles.

    Args:
        points: (N, 3) of the point cloud.
        num_points: points per tile.
        crop_radius: radius of the spheres; None for the whole point cloud.

    Yields:
        Rows of the points, (num_points,), and the centre that is subtracted from their coordinates.
    """
    rng = np.random.default_rng(0)
    origin = np.zeros(3, np.float32)
    if crop_radius is None:
        yield from ((rows, origin) for rows in _split_rows(np.arange(len(points)), num_points, rng))
        return
    tree, remaining = cKDTree(points), np.ones(len(points), bool)
    for centre in rng.permutation(len(points)):
        if remaining[centre]:
            sphere = np.array(tree.query_ball_point(points[centre], crop_radius, return_sorted=True), np.intp)
            remaining[sphere] = False
            yield from ((rows, points[centre]) for rows in _split_rows(sphere, num_points, rng))


def _split_rows(rows: Rows, num_points: int, rng: np.random.Generator) -> Iterator[Rows]:
    order = rng.permutation(rows)
    for first in range(0, len(order), num_points):
        part = order[first : first + num_points]
        yield np.concatenate([part, rng.choice(rows, num_points - len(part))])
