"""Arrays of volumes or point clouds as files, so that training on arrays and on files is the same."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from dimlift.data.datasets.dataset_json import find_label_values
from dimlift.data.datasets.point_cloud_index import load_entry
from dimlift.data.io.readers import read_volume
from dimlift.data.label_values import to_label_values
from dimlift.errors import DataError

Files = str | Path | Sequence[str | Path]
"""One case: a file, or one file for each channel."""


def are_files(cases: Any) -> bool:
    """Whether cases are given as files."""
    if isinstance(cases, np.ndarray):
        return False
    return all(isinstance(first, str | Path) for x in cases for first in ([x] if isinstance(x, str | Path) else x[:1]))


def is_stack(cases: Any) -> bool:
    """Whether all cases are one array of numbers, (N, ...)."""
    return isinstance(cases, np.ndarray) and cases.dtype != object


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

    def arrays(self, cases: Any) -> list[NDArray[Any]]:
        """Return (D, H, W) or (C, D, H, W) for each case; the sizes of cases may differ, their channels may not."""
        if not is_stack(cases):
            arrays = [_checked(x, (3, 4), "(D, H, W) or (C, D, H, W) for each case") for x in cases]
        else:
            arrays = list(_checked(cases, (4, 5), "(N, D, H, W) or (N, C, D, H, W)"))
        counts = sorted({1 if array.ndim == 3 else len(array) for array in arrays})
        if len(counts) > 1:
            raise DataError(f"X holds cases of {' and '.join(map(str, counts))} channels; give all cases the same")
        return arrays

    def images(self, cases: Any, folder: Path) -> list[tuple[Path, ...]]:
        """Return one file for each channel."""
        if are_files(cases):
            return _given(cases)
        return self._write([array.astype(np.float32) for array in self.arrays(cases)], folder)

    def pairs(self, cases: Any, labels: Any, folder: Path) -> tuple[list[tuple[Path, ...]], list[Path]]:
        """Return images and masks."""
        arrays = None if are_files(cases) else self.arrays(cases)
        _require_one_each(cases if arrays is None else arrays, labels)
        images = self.images(cases if arrays is None else arrays, folder / "images")
        if are_files(labels):
            masks = _given(labels)
        else:
            shapes = [None] * len(images) if arrays is None else [array.shape[-3:] for array in arrays]
            masks = self._write(_label_arrays(labels, shapes, (3,), "(D, H, W)"), folder / "masks")
        return images, [files[0] for files in masks]

    def _write(self, arrays: Sequence[NDArray[Any]], folder: Path) -> list[tuple[Path, ...]]:
        folder.mkdir(parents=True, exist_ok=True)
        affine = np.diag([*reversed(self.spacing), 1.0])
        written = []
        for number, array in enumerate(arrays):
            volume = array if array.ndim == 4 else array[None]
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
            targets = _label_arrays(labels, [(len(points),) for points in arrays], (1,), "(P,)")
            images = self._write(arrays, targets, folder)
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
    try:
        array = np.asarray(values)
    except ValueError as fault:  # lists of rows of different lengths
        raise DataError(f"an array has rows of different lengths; expected {expected}, or a list of files") from fault
    if array.ndim not in ndims or 0 in array.shape or (width is not None and array.shape[-1] != width):
        raise DataError(f"an array has shape {array.shape}; expected {expected}, or a list of files")
    return array


def _label_arrays(
    labels: Any, shapes: Sequence[tuple[int, ...] | None], ndims: tuple[int, ...], expected: str
) -> list[NDArray[np.int32]]:
    """Return the labels of each case as integers, in the shape of its voxels or points."""
    return [
        to_label_values(_checked(each, ndims, f"{expected} for the labels of each case"), f"y[{number}]", shape)
        for number, (each, shape) in enumerate(zip(labels, shapes, strict=True))
    ]


def _require_one_each(cases: Sequence[Any], labels: Sequence[Any]) -> None:
    if len(cases) != len(labels):
        raise DataError(f"X holds {len(cases)} cases, y labels for {len(labels)}; give labels for each case")
