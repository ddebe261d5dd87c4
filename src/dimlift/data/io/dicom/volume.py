"""A DICOM series as a volume: (column, row, slice), slices sorted by position, values rescaled slice by slice."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dimlift.data.io.dicom.pixels import read_frames
from dimlift.data.io.dicom.series import read_series
from dimlift.data.issue import Issue
from dimlift.data.volume import Grid, Volume
from dimlift.errors import CorruptFileError, DimliftError


def read_dicom_volume(path: str | Path) -> Volume:
    """Read the folder of one series; `Volume.header` is the `Series` that DICOM outputs refer to.

    Returns:
        float32 (columns, rows, slices), in Hounsfield units for CT.

    Raises:
        CorruptFileError, DataError: as `read_series`, and for incomplete pixels.
    """
    with _name_value_errors(Path(path)):
        series = read_series(_require_folder(path))
        array = np.empty(series.shape, dtype=np.float32)
        by_file: dict[Path, list[int]] = {}
        for index, file in enumerate(series.files):
            by_file.setdefault(file, []).append(index)
        for file, indices in by_file.items():
            frames = read_frames(file)
            for index in indices:
                stored, header = frames[series.frames[index] or 0], series.slices[index]
                array[:, :, index] = stored.T * np.float64(_number(header, "RescaleSlope", 1.0))
                array[:, :, index] += np.float32(_number(header, "RescaleIntercept", 0.0))
    return Volume(array, series.affine, Path(path), series)


def read_dicom_grid(path: str | Path) -> Grid:
    """Read shape and affine of a series from its headers alone."""
    with _name_value_errors(Path(path)):
        series = read_series(_require_folder(path))
    return Grid(series.shape, series.affine, path=Path(path))


@contextmanager
def _name_value_errors(path: Path) -> Iterator[None]:
    """Convert errors of pydicom, which parses values on access and raises errors of any kind, to ones with the path."""
    try:
        yield
    except DimliftError:
        raise
    except Exception as fault:
        message = f"holds a value that cannot be parsed ({type(fault).__name__}: {fault})"
        raise Issue(str(path), "error", message, "export it again from the archive").as_error(
            CorruptFileError
        ) from fault


def _require_folder(path: str | Path) -> Path:
    path = Path(path)
    if path.is_dir():
        return path
    if not path.exists():
        raise Issue(str(path), "error", "does not exist", "restore it, or remove its case").as_error()
    message = "is one file of a DICOM series; the whole series is expected"
    raise Issue(str(path), "error", message, f"pass its folder, {path.parent}").as_error()


def _number(header: Any, name: str, default: float) -> float:
    value = header.get(name)
    return default if value in (None, "") else float(value)
