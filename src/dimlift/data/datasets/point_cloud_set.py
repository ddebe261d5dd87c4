"""Many clouds in memory, and what each one shows."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimlift.data.datasets.point_cloud_index import Place, classes_of, find_places, read_place
from dimlift.errors import DataError

Points = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class CloudSet:
    """Clouds in memory.

    Attributes:
        clouds: (N, 3) each, in the unit of its file.
        names: of each cloud, for messages and records.
        classes: names of the classes; empty where nobody says what a cloud shows.
        labels: index into `classes` of each cloud; empty where there are none.
        point_labels: class of every point of each cloud, in place of one for the cloud; empty where there are none.
        features: (N, channels), what else is known of the points of each cloud; empty where nothing is.
    """

    clouds: tuple[Points, ...]
    names: tuple[str, ...]
    classes: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()
    point_labels: tuple[NDArray[Any], ...] = ()
    features: tuple[Points, ...] = ()

    def __len__(self) -> int:
        return len(self.clouds)

    def digests(self) -> list[str]:
        """SHA-256 of the points of each cloud."""
        return [points_digest(cloud) for cloud in self.clouds]

    def some(self, index: Sequence[int]) -> "CloudSet":
        """Chosen clouds."""

        def chosen(of: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(of[i] for i in index) if of else ()

        return CloudSet(
            chosen(self.clouds), chosen(self.names), self.classes, chosen(self.labels), chosen(self.point_labels),
            chosen(self.features),
        )  # fmt: skip


def joined(learnt: CloudSet, asked: CloudSet) -> CloudSet:
    """The clouds of one set and then those of another, in the classes of the first.

    Raises:
        DataError: if the second shows a class the first has not, or the two share a cloud.
    """
    unknown = sorted({asked.classes[label] for label in asked.labels} - set(learnt.classes))
    if unknown or not asked.labels:
        told = f"show {', '.join(unknown[:5])}, which no other cloud does" if unknown else "have no labels"
        raise DataError(f"the test clouds {told}; give both sets the same classes")
    known = dict(zip(learnt.digests(), learnt.names, strict=True))
    twice = [f"{name} is {known[d]}" for name, d in zip(asked.names, asked.digests(), strict=True) if d in known]
    if twice:
        raise DataError(
            f"{len(twice)} test clouds are also learnt from: {', '.join(twice[:5])}; take them out of one of the sets"
        )
    labels = (learnt.classes.index(asked.classes[label]) for label in asked.labels)
    return CloudSet(learnt.clouds + asked.clouds, learnt.names + asked.names, learnt.classes, (*learnt.labels, *labels))


def points_digest(points: NDArray[Any]) -> str:
    """SHA-256 of points in single precision: what a cloud is known by, whatever its file is called."""
    return hashlib.sha256(np.ascontiguousarray(points, np.float32).tobytes()).hexdigest()


def open_clouds(path: Path | str) -> CloudSet:
    """Read all clouds of a set into memory; where they may lie, see `find_places`.

    Raises:
        DataError: if there is no cloud, some have no label, or a coordinate is NaN or infinite.
        DamagedFile: if a file is cut short or not what its name says.
    """
    return read_clouds(find_places(path), classes_of(Path(path)))


def read_clouds(places: Sequence[Place], classes: Sequence[str] = ()) -> CloudSet:
    """Read chosen clouds into memory.

    Args:
        classes: all there are, in their order; those of the clouds in the alphabet's if none are named.
    """
    clouds = tuple(read_place(place.file).points.astype(np.float32) for place in places)
    names = tuple(place.name for place in places)
    kinds = [place.kind for place in places if place.kind is not None]
    if not kinds:
        return CloudSet(clouds, names)
    known = tuple(classes) or tuple(sorted(set(kinds)))
    return CloudSet(clouds, names, known, tuple(known.index(kind) for kind in kinds))
