"""Batches of clouds, each a function of (seed, step): points drawn, put into the unit ball, scaled and moved."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from dimlift.batch import PointBatch
from dimlift.data.datasets.point_cloud_set import CloudSet, Points
from dimlift.data.preprocessing.unit_sphere import in_unit_ball

Turn = Literal["none", "upright", "any"]
Rows = NDArray[np.intp]


class CloudSampler:
    """Draws batches of clouds with the same number of points each.

    Args:
        clouds: what is drawn from.
        points: of each cloud; where a cloud has fewer, some come twice.
        seed: with the step the only source of chance.
        augment: scale each axis by 2/3 to 3/2 and move by up to 0.2, as Point-MAE does.
        turn: also turn the clouds, about `upright` or by any rotation.
        upright: axis that points up, 0, 1 or 2.
        placed: what puts a cloud where the network expects it.
        radius: of a ball around a point drawn at random, which becomes the origin, from which all points are drawn;
            None for the whole cloud.
    """

    def __init__(
        self,
        clouds: CloudSet,
        points: int,
        *,
        seed: int = 0,
        augment: bool = True,
        turn: Turn = "none",
        upright: int = 1,
        placed: Callable[[Points], Points] | None = None,
        radius: float | None = None,
    ) -> None:
        self.clouds, self.points, self.seed = clouds, points, seed
        self.placed, self.radius = placed or in_unit_ball, radius
        self.augment, self.turn, self.upright = augment, turn, upright

    def batch(self, step: int, count: int, mine: range | None = None) -> PointBatch:
        """`count` clouds, no two the same while there are enough.

        Args:
            mine: which of them to give, for processes that share a batch; all if None.
        """
        rng = np.random.default_rng([self.seed, step])
        chosen = self._chosen(rng, count)
        drawn = [self._drawn(i, rng, alter=True) for i in chosen]
        kept = range(count) if mine is None else mine
        return self._batch([drawn[i] for i in kept], [chosen[i] for i in kept])

    def cases(self, step: int, count: int) -> tuple[str, ...]:
        """Names of the clouds of a batch."""
        return tuple(self.clouds.names[i] for i in self._chosen(np.random.default_rng([self.seed, step]), count))

    def whole(self, index: Sequence[int]) -> PointBatch:
        """Chosen clouds as they are, always with the same points."""
        return self._batch([self._drawn(i, np.random.default_rng([0, i]), alter=False) for i in index], index)

    def _chosen(self, rng: np.random.Generator, count: int) -> list[int]:
        total = len(self.clouds)
        return rng.choice(total, count, replace=count > total).tolist()

    def _batch(self, drawn: list[tuple[Points, Rows]], index: Sequence[int]) -> PointBatch:
        clouds, rows = [points for points, _ in drawn], [rows for _, rows in drawn]
        label, features = None, None
        if self.clouds.point_labels:
            label = _stacked(self.clouds.point_labels, index, rows)
        elif self.clouds.labels:
            label = torch.tensor([self.clouds.labels[i] for i in index])
        if self.clouds.features:
            features = _stacked(self.clouds.features, index, rows)
        return PointBatch(
            torch.from_numpy(np.stack(clouds)), label, tuple(self.clouds.names[i] for i in index), features
        )

    def _drawn(self, index: int, rng: np.random.Generator, alter: bool) -> tuple[Points, Rows]:
        cloud = self.placed(self.clouds.clouds[index])
        inside = np.arange(len(cloud))
        if self.radius is not None:
            centre = cloud[rng.integers(len(cloud))]
            inside = np.flatnonzero(np.square(cloud - centre).sum(1) <= self.radius**2)
            cloud = cloud - centre
        order = rng.permutation(len(inside))[: self.points]
        more = rng.integers(len(inside), size=self.points - len(order))
        rows = inside[np.concatenate([order, more])]
        return (self._altered(cloud[rows], rng) if alter else cloud[rows]), rows

    def _altered(self, cloud: Points, rng: np.random.Generator) -> Points:
        altered: NDArray[np.float64] = cloud.astype(np.float64)
        if self.turn != "none":
            altered = altered @ _rotation(self.turn, self.upright, rng).T
        if self.augment:
            altered = altered * rng.uniform(2 / 3, 3 / 2, 3) + rng.uniform(-0.2, 0.2, 3)
        return altered.astype(np.float32)


def _stacked(of: Sequence[NDArray[Any]], index: Sequence[int], rows: Sequence[Rows]) -> torch.Tensor:
    return torch.from_numpy(np.stack([of[i][chosen] for i, chosen in zip(index, rows, strict=True)]))


def as_it_is(cloud: Points) -> Points:
    """A cloud that lies where it should."""
    return cloud


def _rotation(turn: Turn, upright: int, rng: np.random.Generator) -> NDArray[np.float64]:
    if turn == "any":
        q, r = np.linalg.qr(rng.normal(size=(3, 3)))
        q = q * np.sign(np.diag(r))  # evenly over the orthogonal matrices (Mezzadri, 2007)
        return q * np.sign(np.linalg.det(q))
    angle = rng.uniform(0, 2 * np.pi)
    across, along = [axis for axis in range(3) if axis != upright]
    found = np.eye(3)
    found[across, across] = found[along, along] = np.cos(angle)
    found[across, along], found[along, across] = -np.sin(angle), np.sin(angle)
    return found
