"""Batches of clouds, each a function of (seed, step): points drawn, put into the unit ball, scaled and moved."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from dimlift.batches import PointBatch
from dimlift.data.cloud_sets import CloudSet, Points

Turn = Literal["none", "upright", "any"]


class CloudSampler:
    """Draws batches of clouds with the same number of points each.

    Args:
        clouds: what is drawn from.
        points: of each cloud; where a cloud has fewer, some come twice.
        seed: with the step the only source of chance.
        augment: scale each axis by 2/3 to 3/2 and move by up to 0.2, as Point-MAE does.
        turn: also turn the clouds, about `upright` or by any rotation.
        upright: axis that points up, 0, 1 or 2.
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
    ) -> None:
        self.clouds, self.points, self.seed = clouds, points, seed
        self.augment, self.turn, self.upright = augment, turn, upright

    def batch(self, step: int, count: int) -> PointBatch:
        """`count` clouds, no two the same while there are enough."""
        rng = np.random.default_rng([self.seed, step])
        total = len(self.clouds)
        chosen = rng.choice(total, count, replace=count > total).tolist()
        return self._batch([self._altered(self._drawn(i, rng), rng) for i in chosen], chosen)

    def whole(self, index: Sequence[int]) -> PointBatch:
        """Chosen clouds as they are, always with the same points."""
        return self._batch([self._drawn(i, np.random.default_rng([0, i])) for i in index], index)

    def _batch(self, clouds: list[Points], index: Sequence[int]) -> PointBatch:
        labels = self.clouds.labels
        return PointBatch(
            torch.from_numpy(np.stack(clouds)),
            torch.tensor([labels[i] for i in index]) if labels else None,
            tuple(self.clouds.names[i] for i in index),
        )

    def _drawn(self, index: int, rng: np.random.Generator) -> Points:
        cloud = in_unit_ball(self.clouds.clouds[index])
        count = len(cloud)
        order = rng.permutation(count)[: self.points]
        more = rng.integers(count, size=self.points - len(order))
        return cloud[np.concatenate([order, more])]

    def _altered(self, cloud: Points, rng: np.random.Generator) -> Points:
        altered: NDArray[np.float64] = cloud.astype(np.float64)
        if self.turn != "none":
            altered = altered @ _rotation(self.turn, self.upright, rng).T
        if self.augment:
            altered = altered * rng.uniform(2 / 3, 3 / 2, 3) + rng.uniform(-0.2, 0.2, 3)
        return altered.astype(np.float32)


def in_unit_ball(cloud: Points) -> Points:
    """The cloud around its mean, its farthest point at distance one."""
    centred = cloud - cloud.mean(0, dtype=np.float64)
    return (centred / max(float(np.linalg.norm(centred, axis=1).max()), 1e-12)).astype(np.float32)


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
