"""Sample batches of point clouds as a function of (seed, step): random points, normalisation, augmentation."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from dimlift.batch import PointBatch
from dimlift.data.datasets.point_cloud_set import PointCloudSet, Points
from dimlift.data.preprocessing.point_clouds import normalise_unit_sphere

Rotation = Literal["none", "upright", "any"]
Rows = NDArray[np.intp]


class PointCloudSampler:
    """Samples batches of point clouds with equal numbers of points.

    Args:
        point_clouds: the point clouds to sample from.
        num_points: points per point cloud; smaller point clouds repeat some.
        seed: random seed.
        augment: scale each axis by 2/3 to 3/2 and translate by up to 0.2, as Point-MAE does.
        rotation: random rotation, none, about `up_axis` ("upright"), or any.
        up_axis: axis that points up, 0, 1 or 2.
        normalise: applied to each point cloud first; `normalise_unit_sphere` if None.
        crop_radius: radius of a sphere around a random point, which becomes the origin; all points are sampled from it.
            None samples from the whole point cloud.
    """

    def __init__(
        self,
        point_clouds: PointCloudSet,
        num_points: int,
        *,
        seed: int = 0,
        augment: bool = True,
        rotation: Rotation = "none",
        up_axis: int = 1,
        normalise: Callable[[Points], Points] | None = None,
        crop_radius: float | None = None,
    ) -> None:
        self.point_clouds, self.num_points, self.seed = point_clouds, num_points, seed
        self.normalise, self.crop_radius = normalise or normalise_unit_sphere, crop_radius
        self.augment, self.rotation, self.up_axis = augment, rotation, up_axis

    def batch(self, step: int, batch_size: int, indices: range | None = None) -> PointBatch:
        """Return the batch of a step, without repetition if there are enough point clouds.

        Args:
            step: step number.
            batch_size: point clouds per batch.
            indices: items of the batch to return, for processes that share a batch; None for all.
        """
        rng = np.random.default_rng([self.seed, step])
        chosen = self._choose(rng, batch_size)
        samples = [self._sample(i, rng, augment=True) for i in chosen]
        kept = range(batch_size) if indices is None else indices
        return self._collate([samples[i] for i in kept], [chosen[i] for i in kept])

    def cases(self, step: int, batch_size: int) -> tuple[str, ...]:
        """Return the names of the point clouds of a batch."""
        chosen = self._choose(np.random.default_rng([self.seed, step]), batch_size)
        return tuple(self.point_clouds.names[i] for i in chosen)

    def deterministic_batch(self, index: Sequence[int]) -> PointBatch:
        """Return point clouds without augmentation, always with the same points."""
        samples = [self._sample(i, np.random.default_rng([0, i]), augment=False) for i in index]
        return self._collate(samples, index)

    def _choose(self, rng: np.random.Generator, batch_size: int) -> list[int]:
        total = len(self.point_clouds)
        return rng.choice(total, batch_size, replace=batch_size > total).tolist()

    def _collate(self, samples: list[tuple[Points, Rows]], index: Sequence[int]) -> PointBatch:
        points, rows = [points for points, _ in samples], [rows for _, rows in samples]
        source, label, features = self.point_clouds, None, None
        if source.point_labels:
            label = _stack_rows(source.point_labels, index, rows)
        elif source.labels:
            label = torch.tensor([source.labels[i] for i in index])
        if source.features:
            features = _stack_rows(source.features, index, rows)
        return PointBatch(torch.from_numpy(np.stack(points)), label, tuple(source.names[i] for i in index), features)

    def _sample(self, index: int, rng: np.random.Generator, augment: bool) -> tuple[Points, Rows]:
        """Return sampled points of a point cloud and their rows."""
        points = self.normalise(self.point_clouds.point_clouds[index])
        inside = np.arange(len(points))
        if self.crop_radius is not None:
            centre = points[rng.integers(len(points))]
            inside = np.flatnonzero(np.square(points - centre).sum(1) <= self.crop_radius**2)
            points = points - centre
        order = rng.permutation(len(inside))[: self.num_points]
        repeated = rng.integers(len(inside), size=self.num_points - len(order))
        rows = inside[np.concatenate([order, repeated])]
        return (self._augment(points[rows], rng) if augment else points[rows]), rows

    def _augment(self, points: Points, rng: np.random.Generator) -> Points:
        augmented: NDArray[np.float64] = points.astype(np.float64)
        if self.rotation != "none":
            augmented = augmented @ _random_rotation(self.rotation, self.up_axis, rng).T
        if self.augment:
            augmented = augmented * rng.uniform(2 / 3, 3 / 2, 3) + rng.uniform(-0.2, 0.2, 3)
        return augmented.astype(np.float32)


def identity(points: Points) -> Points:
    """Return the points, for point clouds that are normalised already."""
    return points


def _stack_rows(arrays: Sequence[NDArray[Any]], index: Sequence[int], rows: Sequence[Rows]) -> torch.Tensor:
    return torch.from_numpy(np.stack([arrays[i][chosen] for i, chosen in zip(index, rows, strict=True)]))


def _random_rotation(rotation: Rotation, up_axis: int, rng: np.random.Generator) -> NDArray[np.float64]:
    if rotation == "any":
        q, r = np.linalg.qr(rng.normal(size=(3, 3)))
        q = q * np.sign(np.diag(r))  # uniform over the orthogonal matrices (Mezzadri, 2007)
        return q * np.sign(np.linalg.det(q))
    angle = rng.uniform(0, 2 * np.pi)
    first, second = [axis for axis in range(3) if axis != up_axis]
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
    return matrix
