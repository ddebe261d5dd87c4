"""What happens to a cloud before a network sees it; stored with the weights, repeated by `predict`."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dimlift.data.case import Case, Dataset
from dimlift.data.datasets.point_cloud_index import read_place
from dimlift.data.io.point_cloud import Cloud
from dimlift.data.preprocessing.sample import IGNORED
from dimlift.data.preprocessing.unit_sphere import in_unit_ball
from dimlift.errors import DataError, UnknownName

Frame = Literal["ball", "file"]


@dataclass(frozen=True, eq=False)
class CloudSample:
    """A cloud as a network sees it.

    Attributes:
        points: (N, 3), all points of the file in its order.
        features: (N, channels), what else is shown of each; None where nothing is.
        label: class index of every point (`IGNORED` where nobody says), or of the cloud; None where nobody knows.
    """

    name: str
    points: NDArray[np.float32]
    features: NDArray[np.float32] | None = None
    label: NDArray[np.int64] | int | None = None

    @cached_property
    def values(self) -> tuple[int, ...]:
        """Every label that occurs."""
        if isinstance(self.label, np.ndarray):
            return tuple(np.unique(self.label).tolist())
        return () if self.label is None else (self.label,)


@dataclass(frozen=True)
class CloudPreprocessing:
    """The way from a file of points to the network's input.

    Attributes:
        labels: value of each class in the files, by name; a network's answers are in this order.
        ignore: value of points nobody labelled, beside all negative ones.
        frame: "ball": the unit ball around the mean; "file": the unit of the file, the mean at the origin.
        features: columns that are shown beside the coordinates.
        means, deviations: of each number of those columns but colours, over the points of the training clouds.
        points: that a network is shown at once.
        radius: of the balls a cloud is cut into; None for whole clouds.
    """

    labels: dict[str, int]
    ignore: int | None = None
    frame: Frame = "ball"
    features: tuple[str, ...] = ()
    means: tuple[float, ...] = ()
    deviations: tuple[float, ...] = ()
    points: int = 1024
    radius: float | None = None

    @classmethod
    def fit(cls, dataset: Dataset, train: Sequence[Case], **options: Any) -> "CloudPreprocessing":
        """Decide it on the training clouds.

        Args:
            options: `frame`, `features`, `points` and `radius`.

        Raises:
            DataError: if a cloud lacks a column.
        """
        plain = cls(dataset.labels, dataset.ignore, **options)
        if not plain.features:
            return plain
        count, total, squares = 0, np.zeros(1), np.zeros(1)
        for case in train:  # one cloud in memory at a time
            columns, is_colour = plain._columns(read_place(case.images[0]))
            count, total = count + len(columns), total + columns.sum(0)
            squares = squares + np.square(columns).sum(0)
        means = total / count
        deviations = np.sqrt(np.maximum(squares / count - np.square(means), 0))
        # colours from 0 to 1 become -1 to 1, as pretraining shows them, whatever those of this set are
        means = np.where(is_colour, 0.5, means)
        deviations = np.where(is_colour, 0.5, np.where(deviations > 1e-6, deviations, 1.0))
        return replace(plain, means=tuple(means.tolist()), deviations=tuple(deviations.tolist()))

    @property
    def channels(self) -> int:
        """Numbers of a point beside its coordinates."""
        return len(self.means)

    def read(self, case: Case) -> CloudSample:
        """A cloud with what it, or each of its points, shows.

        Raises:
            DataError: if it lacks a column, or its labels.
        """
        cloud = read_place(case.images[0])
        if not isinstance(case.label, Path):
            return self._sample(cloud, case.name, None if case.label is None else int(case.label))
        if cloud.labels is None:
            raise DataError(f"{case.images[0]} has no labels of its points; add them, or take the cloud out")
        return self._sample(cloud, case.name, self.indices(cloud.labels))

    def unlabelled(self, cloud: Cloud) -> CloudSample:
        """A cloud nobody labelled, or whose labels do not matter."""
        return self._sample(cloud, cloud.path.name, None)

    def indices(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Class indices of the labels of a file."""
        found = np.full(labels.shape, IGNORED, np.int64)
        for index, value in enumerate(self.labels.values()):
            found[labels == value] = index
        return found

    def file_labels(self, indices: NDArray[Any]) -> NDArray[np.int32]:
        """Labels as files have them, of class indices."""
        return np.array(list(self.labels.values()), np.int32)[indices]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "CloudPreprocessing":
        """What `to_json` gave, read back."""
        if content["frame"] not in get_args(Frame):
            raise UnknownName("frame", content["frame"], get_args(Frame))
        lists = {name: tuple(content[name]) for name in ("features", "means", "deviations")}
        return cls(**{**content, **lists})

    def _sample(self, cloud: Cloud, name: str, label: Any) -> CloudSample:
        place: Callable[[Any], NDArray[np.float32]] = {"ball": in_unit_ball, "file": about_mean}[self.frame]
        features = None
        if self.features:
            columns, _ = self._columns(cloud)
            if columns.shape[1] != self.channels:
                raise DataError(
                    f"{cloud.path} has {columns.shape[1]} numbers in {', '.join(self.features)}, the network was "
                    f"trained with {self.channels}; make them in the same way"
                )
            features = ((columns - self.means) / self.deviations).astype(np.float32)
        return CloudSample(name, place(cloud.points), features, label)

    def _columns(self, cloud: Cloud) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """(N, channels) numbers beside the coordinates, and which of the channels are colours.

        Raises:
            DataError: naming a column the cloud does not have.
        """
        known = {**cloud.extra, **({} if cloud.colours is None else {"colours": cloud.colours})}
        for name in self.features:
            if name not in known:
                shown = ", ".join(known) or "no other"
                raise DataError(
                    f"{cloud.path} has no column {name!r} (it has {shown}); take it out of clouds.features, or the "
                    "cloud out of the set"
                )
        blocks = [np.asarray(known[name], np.float64).reshape(len(cloud.points), -1) for name in self.features]
        is_colour = [
            np.full(block.shape[1], name == "colours") for name, block in zip(self.features, blocks, strict=True)
        ]
        found = np.concatenate(blocks, axis=1)
        if not np.isfinite(found).all():
            raise DataError(f"{cloud.path} has NaN or infinite numbers in {', '.join(self.features)}; export it again")
        return found, np.concatenate(is_colour)


def about_mean(points: NDArray[Any]) -> NDArray[np.float32]:
    """Points in their own unit, their mean at the origin: single precision is enough there, wherever a scan lies."""
    return (points - points.mean(0, dtype=np.float64)).astype(np.float32)
