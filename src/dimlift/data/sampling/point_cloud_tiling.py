"""How a network that is shown a fixed number of points sees a whole cloud: draws in which every point comes once."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Rows = NDArray[np.intp]


def cover(
    points: NDArray[np.float32], count: int, radius: float | None = None
) -> Iterator[tuple[Rows, NDArray[np.float32]]]:
    """Draws of `count` points that hold every point of a cloud at least once; always the same ones.

    Points are drawn as in training, at random over the cloud or over a ball of it, so that a network meets the
    density it learnt from. The last draw of a ball is filled up with points that had their turn.

    Yields:
        rows of the points, (count,), and what is taken off their coordinates: the centre of the ball.
    """
    rng = np.random.default_rng(0)
    origin = np.zeros(3, np.float32)
    if radius is None:
        yield from ((rows, origin) for rows in _turns(np.arange(len(points)), count, rng))
        return
    tree, open_ = cKDTree(points), np.ones(len(points), bool)
    for centre in rng.permutation(len(points)):
        if open_[centre]:
            ball = np.array(tree.query_ball_point(points[centre], radius, return_sorted=True), np.intp)
            open_[ball] = False
            yield from ((rows, points[centre]) for rows in _turns(ball, count, rng))


def _turns(rows: Rows, count: int, rng: np.random.Generator) -> Iterator[Rows]:
    order = rng.permutation(rows)
    for first in range(0, len(order), count):
        part = order[first : first + count]
        yield np.concatenate([part, rng.choice(rows, count - len(part))])
