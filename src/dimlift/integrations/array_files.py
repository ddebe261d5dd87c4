"""Arrays of volumes or point clouds as files, so that training on arrays and on files is the same."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from dimlift.data.datasets.image_label_folders import find_label_values
from dimlift.data.datasets.point_cloud_index import load_entry
from dimlift.data.io.readers import read_volume
from dimlift.errors import DataError

Files = str | Path | Sequence[str | Path]
"""One case: a file, or one file for each channel."""


def are_files(cases: Any) -> bool:
    """Whether cases are given as files."""
    if isinstance(cases, np.ndarray):
        return False
    return all(isinstance(first, str | Path) for x in cases for first in ([x] if isinstance(x, str | Path) else x[:1]))


class DatasetWriter(ABC):
    """Files of cases: the given ones, or arrays written to a folder.

    Args:
        spacing: (z, y, x) millimetres between voxels of arrays.
    """

    def __init__(self, spacing: tuple[float, float, float]) -> None:
        self.spacing = spacing

    @abstractmethod
    def arrays(self, cases: Any) -> Iterable[NDArray[Any]]:
        """Return one array for each case. Raises: DataError, for arrays of another shape."""

    @abstractmethod
    def images(self, cases: Any, folder: Path) -> list[tuple[Path, ...]]:
        """Return the files of each case."""

    @abstractmethod
    def pairs(self, cases: Any, labels: Any, folder: Path) -> tuple[list[tuple[Path, ...]], list[Path]]:
        """Return the files of each case, and the file with the labels of its voxels or points.

        Raises:
            DataError: if there is not one array of labels for each case, or labels are not integers.
        """

    @abstractmethod
    def label_values(self, masks: Sequence[Path]) -> list[int]:
        """Return the label values that occur, background excluded."""

    @abstractmethod
    def channels(self, files: tuple[Path, ...]) -> tuple[str, ...]:
        """Return a name for each channel of a case."""


class VolumeWriter(DatasetWriter):
    """Volumes as NIfTI."""

    def arrays(self, cases: Any) -> NDArray[Any]:
        """Return (N, D, H, W) or (N, C, D, H, W) as an array."""
        return _checked(cases, (4, 5), "(N, D, H, W) or (N, C, D, H, W)")

    def images(self, cases: Any, folder: Path) -> list[tuple[Path, ...]]:
        """Return one file for each channel."""
        return _given(cases) if are_files(cases) else self._write(self.arrays(cases).astype(np.float32), folder)

    def pairs(self, cases: Any, labels: Any, folder: Path) -> tuple[list[tuple[Path, ...]], list[Path]]:
        """Return images and masks."""
        images = self.images(cases, folder / "images")
        if are_files(labels):
            masks = _given(labels)
        else:
            masks = self._write(_integers(_checked(labels, (4,), "(N, D, H, W)")), folder / "masks")
        _require_one_each(images, masks)
        return images, [files[0] for files in masks]

    def _write(self, array: NDArray[Any], folder: Path) -> list[tuple[Path, ...]]:
        folder.mkdir(parents=True, exist_ok=True)
        affine = np.diag([*reversed(self.spacing), 1.0])
        written = []
        for number, volume in enumerate(array if array.ndim == 5 else array[:, None]):
            files = tuple(folder / f"{number}_{channel:04d}.nii" for channel in range(len(volume)))
            for file, channel in zip(files, volume, strict=True):
                # an array is (z, y, x); the axes of a file are (x, y, z)
                nibabel.save(nibabel.Nifti1Image(channel.transpose(), affine), file)
            written.append(files)
        return written

    def label_values(self, masks: Sequence[Path]) -> list[int]:
        """Return the values above zero."""
        return find_label_values(list(masks))

    def channels(self, files: tuple[Path, ...]) -> tuple[str, ...]:
        """Count the files of a volume, or the last axis of its only one."""
        count = len(files)
        if count == 1:
            array = read_volume(files[0]).array
            count = array.shape[3] if array.ndim == 4 else 1
        return tuple(f"channel {n}" for n in range(count))


class PointCloudWriter(DatasetWriter):
    """Point clouds as .npz."""

    def arrays(self, cases: Any) -> list[NDArray[Any]]:
        """Return (P, 3) for each case."""
        return [_checked(points, (2,), "(P, 3) for each point cloud", width=3) for points in cases]

    def images(self, cases: Any, folder: Path) -> list[tuple[Path, ...]]:
        """Return one file for each point cloud."""
        return _given(cases) if are_files(cases) else self._write(self.arrays(cases), None, folder)

    def pairs(self, cases: Any, labels: Any, folder: Path) -> tuple[list[tuple[Path, ...]], list[Path]]:
        """Return point clouds, whose files hold the labels."""
        if are_files(cases):
            images = _given(cases)
        else:
            arrays = self.arrays(cases)
            _require_one_each(arrays, labels)
            images = self._write(arrays, [_integers(np.asarray(each)) for each in labels], folder)
        return images, [files[0] for files in images]

    def _write(
        self, clouds: Sequence[NDArray[Any]], labels: Sequence[NDArray[Any]] | None, folder: Path
    ) -> list[tuple[Path, ...]]:
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / f"{number}.npz" for number in range(len(clouds))]
        for number, (file, points) in enumerate(zip(files, clouds, strict=True)):
            arrays: dict[str, Any] = (
                {"points": points} if labels is None else {"points": points, "labels": labels[number]}
            )
            np.savez(file, **arrays)
        return [(file,) for file in files]

    def label_values(self, masks: Sequence[Path]) -> list[int]:
        """Return the values that are not negative."""
        found = (load_entry(file).labels for file in masks)
        values = {int(value) for labels in found if labels is not None for value in np.unique(labels)}
        return sorted(value for value in values if value >= 0)

    def channels(self, files: tuple[Path, ...]) -> tuple[str, ...]:
        """Return the one channel of a point cloud."""
        return ("points",)


DATASET_WRITERS: dict[str, type[DatasetWriter]] = {"volumes": VolumeWriter, "point_clouds": PointCloudWriter}


def _given(cases: Any) -> list[tuple[Path, ...]]:
    return [(Path(x),) if isinstance(x, str | Path) else tuple(map(Path, x)) for x in cases]


def _checked(values: Any, ndims: tuple[int, ...], expected: str, width: int | None = None) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim not in ndims or 0 in array.shape or (width is not None and array.shape[-1] != width):
        raise DataError(f"an array has shape {array.shape}; expected {expected}, or a list of files")
    return array


def _integers(labels: NDArray[Any]) -> NDArray[np.int16]:
    if not np.array_equal(labels, np.rint(labels)):
        raise DataError("labels are not integers; give class numbers, 0 for the background of volumes")
    return labels.astype(np.int16)


def _require_one_each(cases: Sequence[Any], labels: Sequence[Any]) -> None:
    if len(cases) != len(labels):
        raise DataError(f"X holds {len(cases)} cases, y labels for {len(labels)}; give labels for each case")
