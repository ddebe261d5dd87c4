"""Point clouds in memory, with labels."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimlift.data.datasets.point_cloud_index import (
    PointCloudEntry,
    array_class_names,
    index_point_clouds,
    load_usable_entry,
)
from dimlift.errors import DataError

Points = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class PointCloudSet:
    """Point clouds in memory.

    Attributes:
        point_clouds: (N, 3) each, in the unit of its file.
        names: of each point cloud, for messages and records.
        classes: class names; empty without labels.
        labels: index into `classes` of each point cloud; empty without labels.
        point_labels: class of every point of each point cloud, instead of `labels`; empty without them.
        features: (N, channels) further inputs of each point cloud; empty without them.
    """

    point_clouds: tuple[Points, ...]
    names: tuple[str, ...]
    classes: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()
    point_labels: tuple[NDArray[Any], ...] = ()
    features: tuple[Points, ...] = ()

    def __len__(self) -> int:
        return len(self.point_clouds)

    def point_hashes(self) -> list[str]:
        """Return the hash of the points of each point cloud."""
        return [points_hash(points) for points in self.point_clouds]

    def subset(self, index: Sequence[int]) -> "PointCloudSet":
        """Return the point clouds at these positions."""

        def take(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(values[i] for i in index) if values else ()

        return PointCloudSet(
            take(self.point_clouds), take(self.names), self.classes, take(self.labels), take(self.point_labels),
            take(self.features),
        )  # fmt: skip


def concat_point_cloud_sets(train: PointCloudSet, test: PointCloudSet) -> PointCloudSet:
    """Return the point clouds of a training set, then those of a test set, with the classes of the training set.

    Raises:
        DataError: if the test set has an unknown class or no labels, or the sets share a point cloud.
    """
    unknown = sorted({test.classes[label] for label in test.labels} - set(train.classes))
    if unknown or not test.labels:
        found = f"have the classes {', '.join(unknown[:5])}, which no training point cloud has" if unknown else ""
        raise DataError(f"the test point clouds {found or 'have no labels'}; give both sets the same classes")
    known = dict(zip(train.point_hashes(), train.names, strict=True))
    shared = [f"{name} is {known[h]}" for name, h in zip(test.names, test.point_hashes(), strict=True) if h in known]
    if shared:
        raise DataError(
            f"{len(shared)} test point clouds are also in the training set: {', '.join(shared[:5])}; remove them from "
            "one of the sets"
        )
    labels = (train.classes.index(test.classes[label]) for label in test.labels)
    return PointCloudSet(
        train.point_clouds + test.point_clouds, train.names + test.names, train.classes, (*train.labels, *labels)
    )


def points_hash(points: NDArray[Any]) -> str:
    """Return SHA-256 of points in single precision, which identifies a point cloud in files of any format."""
    return hashlib.sha256(np.ascontiguousarray(points, np.float32).tobytes()).hexdigest()


def load_point_cloud_set(path: Path | str, columns: Sequence[str] = ()) -> PointCloudSet:
    """Read all point clouds of a dataset into memory; see `index_point_clouds` for the arguments.

    Raises:
        DataError: if there is no point cloud, only some have labels, or a coordinate is NaN or infinite.
        CorruptFileError: if a file is truncated or of another format than its suffix states.
    """
    return load_entries(index_point_clouds(path, columns), array_class_names(Path(path)))


def load_entries(entries: Sequence[PointCloudEntry], classes: Sequence[str] = ()) -> PointCloudSet:
    """Read point clouds into memory.

    Args:
        entries: the point clouds.
        classes: all class names in order; if empty, those of the entries in alphabetical order.

    Raises:
        DataError: if one cannot be read, or has all points at one place.
    """
    clouds = tuple(load_usable_entry(entry).points.astype(np.float32) for entry in entries)
    names = tuple(entry.name for entry in entries)
    labels = [entry.class_name for entry in entries if entry.class_name is not None]
    if not labels:
        return PointCloudSet(clouds, names)
    known = tuple(classes) or tuple(sorted(set(labels)))
    return PointCloudSet(clouds, names, known, tuple(known.index(label) for label in labels))
