"""Volume formats by suffix. A new format is one module with two functions, and one line in `VOLUME_READERS`.

A folder that holds the files of one DICOM series is a volume, like a file.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from dimlift.data.io import metaimage, nifti, nrrd, video
from dimlift.data.io.dicom import volume as dicom
from dimlift.data.io.dicom.series import is_series
from dimlift.data.io.regular_file import require_regular_file
from dimlift.data.issue import Issue
from dimlift.data.volume import Grid, Volume
from dimlift.errors import DataError


class Reader(NamedTuple):
    """Functions that read one format.

    Attributes:
        read: returns the volume.
        read_grid: returns the grid, from the header alone.
    """

    read: Callable[[str | Path], Volume]
    read_grid: Callable[[str | Path], Grid]


_NIFTI = Reader(nifti.read_nifti_volume, nifti.read_nifti_grid)
_NRRD = Reader(nrrd.read_nrrd_volume, nrrd.read_nrrd_grid)
_MHA = Reader(metaimage.read_mha_volume, metaimage.read_mha_grid)
_VIDEO = Reader(video.read_video_volume, video.read_video_grid)
_DICOM = Reader(dicom.read_dicom_volume, dicom.read_dicom_grid)

VOLUME_READERS: dict[str, Reader] = {
    ".nii.gz": _NIFTI, ".nii": _NIFTI, ".nrrd": _NRRD, ".nhdr": _NRRD, ".mha": _MHA, ".mhd": _MHA,
    **dict.fromkeys(video.SUFFIXES, _VIDEO),
}  # fmt: skip
"""Readers of files by suffix."""


def read_volume(path: str | Path) -> Volume:
    """Read a volume; the suffix determines the format.

    Raises:
        DataError: if the suffix is unknown, if the path is a FIFO or a device, or if the file cannot be used.
    """
    return _reader_of(path).read(path)


def read_grid(path: str | Path) -> Grid:
    """Read shape and affine of a volume from its header alone."""
    return _reader_of(path).read_grid(path)


def volume_suffix(path: str | Path) -> str | None:
    """Return the suffix of a readable volume (".nii.gz"), or None for any other file."""
    return next((suffix for suffix in VOLUME_READERS if Path(path).name.lower().endswith(suffix)), None)


def volume_stem(path: str | Path) -> str:
    """Return a file name without folder and without its volume suffix."""
    name = Path(path).name
    return name[: -len(volume_suffix(path) or "") or None]


def list_volumes(folder: Path) -> list[Path]:
    """Return the volumes and DICOM series of a folder, sorted, without hidden ones (such as macOS's `._` files)."""
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and (is_series(path) if path.is_dir() else volume_suffix(path))
    )


def files_by_stem(files: Iterable[Path]) -> dict[str, Path]:
    """Return files by their names without suffix.

    Raises:
        DataError: if two files have the same stem (a.nii and a.nii.gz).
    """
    by_stem: dict[str, Path] = {}
    for file in files:
        other = by_stem.setdefault(volume_stem(file), file)
        if other is not file:
            message = f"has the same name as {other.name} in the same folder"
            raise Issue(str(file), "error", message, "remove one of them").as_error()
    return by_stem


def infer_channel_names(paths: Iterable[Path]) -> tuple[str, ...]:
    """Return channel names for a dataset that states none: "image", or "image1", "image2", ... on a fourth axis.

    The first file with a readable header decides; if there is none, the dataset has one channel.
    """
    for path in paths:
        try:
            shape = read_grid(path).shape
        except DataError:
            continue
        count = shape[3] if len(shape) == 4 else 1
        return ("image",) if count == 1 else tuple(f"image{index}" for index in range(1, count + 1))
    return ("image",)


def _reader_of(path: str | Path) -> Reader:
    if Path(path).is_dir() or Path(path).suffix.lower() == ".dcm":
        return _DICOM
    suffix = volume_suffix(path)
    if suffix is None:
        message = f"has an unknown format; {', '.join(VOLUME_READERS)} and folders of a DICOM series can be read"
        raise Issue(str(path), "error", message, "convert it to .nii.gz").as_error()
    require_regular_file(Path(path))
    return VOLUME_READERS[suffix]
