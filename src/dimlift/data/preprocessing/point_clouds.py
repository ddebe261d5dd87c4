"""Preprocessing of point clouds; stored with the weights and repeated by `predict`."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dimlift.data.case import Case, Dataset
from dimlift.data.datasets.point_cloud_index import load_entry
from dimlift.data.io.point_cloud import PointCloud
from dimlift.data.preprocessing.input_facts import point_cloud_facts
from dimlift.data.preprocessing.sample import IGNORED
from dimlift.data.preprocessing.training_range import InputFacts
from dimlift.errors import DataError, UnknownNameError

PointNormalisation = Literal["unit_sphere", "centre"]
Points = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class PointCloudSample:
    """A preprocessed point cloud.

    Attributes:
        name: name of the case or file.
        points: (N, 3), all points of the file in their order.
        features: (N, channels) further inputs of each point, or None.
        label: class index of every point (`IGNORED` where unlabelled), or of the point cloud; None if unlabelled.
        facts: what the file held before normalisation; None if nobody measured it.
    """

    name: str
    points: Points
    features: NDArray[np.float32] | None = None
    label: NDArray[np.int64] | int | None = None
    facts: InputFacts | None = None

    @cached_property
    def values(self) -> tuple[int, ...]:
        """Every label that occurs."""
        if isinstance(self.label, np.ndarray):
            return tuple(np.unique(self.label).tolist())
        return () if self.label is None else (self.label,)


@dataclass(frozen=True)
class PointCloudPreprocessing:
    """From a point cloud file to the input of a network.

    Attributes:
        labels: name to value in the files; class indices are in this order.
        ignore: value of unlabelled points, in addition to all negative ones.
        normalise: "unit_sphere" centres and scales to the unit sphere; "centre" keeps the unit of the file.
        features: columns used in addition to the coordinates.
        means, stds: of each channel of these columns over the training point clouds, except colours.
        num_points: points per forward pass.
        crop_radius: radius of spherical crops; None for whole point clouds.
        columns: names of the columns of files that do not name them.
    """

    labels: dict[str, int]
    ignore: int | None = None
    normalise: PointNormalisation = "unit_sphere"
    features: tuple[str, ...] = ()
    means: tuple[float, ...] = ()
    stds: tuple[float, ...] = ()
    num_points: int = 1024
    crop_radius: float | None = None
    columns: tuple[str, ...] = ()

    @classmethod
    def fit(cls, dataset: Dataset, train: Sequence[Case], **options: Any) -> "PointCloudPreprocessing":
        """Compute the statistics of the features on the training point clouds.

        Args:
            dataset: the dataset.
            train: the training cases.
            options: `normalise`, `features`, `num_points` and `crop_radius`.

        Raises:
            DataError: if a point cloud lacks a column.
        """
        columns = train[0].columns if train else ()
        unfitted = cls(dataset.labels, dataset.ignore, columns=columns, **options)
        if not unfitted.features:
            return unfitted
        count, total, squares = 0, np.zeros(1), np.zeros(1)
        for case in train:  # one point cloud in memory at a time
            values, is_colour = unfitted._columns(load_entry(case.images[0], case.columns))
            count, total = count + len(values), total + values.sum(0)
            squares = squares + np.square(values).sum(0)
        means = total / count
        stds = np.sqrt(np.maximum(squares / count - np.square(means), 0))
        # colours are scaled from [0, 1] to [-1, 1] for every dataset, as in pretraining
        means = np.where(is_colour, 0.5, means)
        stds = np.where(is_colour, 0.5, np.where(stds > 1e-6, stds, 1.0))
        return replace(unfitted, means=tuple(means.tolist()), stds=tuple(stds.tolist()))

    @property
    def channels(self) -> int:
        """Number of input channels in addition to the coordinates."""
        return len(self.means)

    def read(self, case: Case) -> PointCloudSample:
        """Read and preprocess a case with its label.

        Raises:
            DataError: if a column or the labels are missing.
        """
        cloud = load_entry(case.images[0], case.columns)
        if not isinstance(case.label, Path):
            return self._sample(cloud, case.name, None if case.label is None else int(case.label))
        if cloud.labels is None:
            raise DataError(f"{case.images[0]} has no labels of its points; add them, or remove the point cloud")
        return self._sample(cloud, case.name, self.to_class_indices(cloud.labels))

    def prepare(self, cloud: PointCloud) -> PointCloudSample:
        """Preprocess a point cloud without its labels."""
        return self._sample(cloud, cloud.path.name, None)

    def to_class_indices(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the class indices of labels as in the files."""
        indices = np.full(labels.shape, IGNORED, np.int64)
        for index, value in enumerate(self.labels.values()):
            indices[labels == value] = index
        return indices

    def to_file_labels(self, indices: NDArray[Any]) -> NDArray[np.int32]:
        """Return labels as in the files for class indices."""
        return np.array(list(self.labels.values()), np.int32)[indices]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "PointCloudPreprocessing":
        """Return the object that `to_json` was called on."""
        if content["normalise"] not in get_args(PointNormalisation):
            raise UnknownNameError("point_clouds.normalise", content["normalise"], get_args(PointNormalisation))
        sequences = {name: tuple(content[name]) for name in ("features", "means", "stds", "columns")}
        return cls(**{**content, **sequences})

    def _sample(self, cloud: PointCloud, name: str, label: Any) -> PointCloudSample:
        normalise: Callable[[Any], Points] = _NORMALISATIONS[self.normalise]
        features = None
        if self.features:
            columns, _ = self._columns(cloud)
            if columns.shape[1] != self.channels:
                raise DataError(
                    f"{cloud.path} has {columns.shape[1]} channels in {', '.join(self.features)}; the network was "
                    f"trained with {self.channels}; compute them in the same way"
                )
            features = ((columns - self.means) / self.stds).astype(np.float32)
        return PointCloudSample(name, normalise(cloud.points), features, label, point_cloud_facts(cloud))

    def _columns(self, cloud: PointCloud) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the further columns as (N, channels), and which of the channels are colours.

        Raises:
            DataError: if a column is missing or not finite.
        """
        known = {**cloud.extra, **({} if cloud.colours is None else {"colours": cloud.colours})}
        for name in self.features:
            if name not in known:
                found = ", ".join(known) or "no other"
                raise DataError(
                    f"{cloud.path} has no column {name!r} (it has {found}); remove it from point_clouds.features, or "
                    "remove the point cloud from the dataset"
                )
        blocks = [np.asarray(known[name], np.float64).reshape(len(cloud.points), -1) for name in self.features]
        is_colour = [
            np.full(block.shape[1], name == "colours") for name, block in zip(self.features, blocks, strict=True)
        ]
        columns = np.concatenate(blocks, axis=1)
        if not np.isfinite(columns).all():
            raise DataError(f"{cloud.path} has NaN or infinite values in {', '.join(self.features)}; export it again")
        return columns, np.concatenate(is_colour)


def normalise_unit_sphere(points: NDArray[Any]) -> Points:
    """Centre points on their mean and scale them so that the farthest one has norm one (`pc_normalize` of PointNet)."""
    centred = points - points.mean(0, dtype=np.float64)
    return (centred / max(float(np.linalg.norm(centred, axis=1).max()), 1e-12)).astype(np.float32)


def centre_points(points: NDArray[Any]) -> Points:
    """Centre points on their mean; single precision is then sufficient for any coordinate system."""
    return (points - points.mean(0, dtype=np.float64)).astype(np.float32)


_NORMALISATIONS: dict[str, Callable[[NDArray[Any]], Points]] = {
    "unit_sphere": normalise_unit_sphere,
    "centre": centre_points,
}
