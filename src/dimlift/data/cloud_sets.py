"""Many clouds in memory, and what each one shows."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimlift.data.cloud_places import Place, classes_of, find_places, read_place

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
