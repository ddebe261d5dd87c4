"""A DICOM series as a volume: (column, row, slice), slices in the order of space, each rescaled as it says."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dimlift.data.io.dicom.objects import read_slice
from dimlift.data.io.dicom.series import read_series
from dimlift.data.issue import Finding
from dimlift.data.volume import Grid, Volume
from dimlift.errors import DamagedFile, DimliftError


def read_volume(path: str | Path) -> Volume:
    """Read the folder of one series; `Volume.header` is the `Series`, which DICOM outputs refer to.

    Returns:
        float32 (columns, rows, slices), in Hounsfield units for CT.

    Raises:
        DamagedFile, DataError: as `read_series`, and for pixels that are not whole.
    """
    with _understood(Path(path)):
        series = read_series(_folder(path))
        array = np.empty(series.shape, dtype=np.float32)
        for index, (file, header) in enumerate(zip(series.files, series.slices, strict=True)):
            array[:, :, index] = read_slice(file).T * np.float64(_of(header, "RescaleSlope", 1.0))
            array[:, :, index] += np.float32(_of(header, "RescaleIntercept", 0.0))
    return Volume(array, series.affine, Path(path), series)


def read_grid(path: str | Path) -> Grid:
    """Shape and affine of a series, from its headers alone."""
    with _understood(Path(path)):
        series = read_series(_folder(path))
    return Grid(series.shape, series.affine, path=Path(path))


@contextmanager
def _understood(path: Path) -> Iterator[None]:
    """pydicom understands a value when it is asked for, and breaks in any way there is at one that is damaged."""
    try:
        yield
    except DimliftError:
        raise
    except Exception as fault:
        found = f"holds a value that cannot be understood ({type(fault).__name__}: {fault})"
        raise Finding(str(path), "error", found, "export it again from the archive").as_error(DamagedFile) from fault


def _folder(path: str | Path) -> Path:
    path = Path(path)
    if path.is_dir():
        return path
    if not path.exists():
        raise Finding(str(path), "error", "there is no such file", "restore it, or take its case out").as_error()
    found = "is one file of a DICOM series, not the whole series"
    raise Finding(str(path), "error", found, f"give its folder, {path.parent}").as_error()


def _of(header: Any, name: str, otherwise: float) -> float:
    value = header.get(name)
    return otherwise if value in (None, "") else float(value)
