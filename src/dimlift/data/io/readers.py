"""File formats by suffix. A new format is one module with `read_volume` and `read_grid`, and one line here.

A folder that holds the files of one DICOM series is a volume like a file.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from dimlift.data.io import itk, nifti, video
from dimlift.data.io.dicom import volume as dicom
from dimlift.data.io.dicom.series import is_series
from dimlift.data.issue import Finding
from dimlift.data.volume import Grid, Volume
from dimlift.errors import DataError


class Format(NamedTuple):
    """How files of one suffix are read."""

    read_volume: Callable[[str | Path], Volume]
    read_grid: Callable[[str | Path], Grid]


_NIFTI = Format(nifti.read_volume, nifti.read_grid)

_ITK = Format(itk.read_volume, itk.read_grid)
_DICOM = Format(dicom.read_volume, dicom.read_grid)
_VIDEO = Format(video.read_volume, video.read_grid)

READERS: dict[str, Format] = {
    ".nii.gz": _NIFTI, ".nii": _NIFTI, ".nrrd": _ITK, ".mha": _ITK, **dict.fromkeys(video.SUFFIXES, _VIDEO)
}  # fmt: skip
"""Files. A folder that holds DICOM files is a volume too: one series."""


def suffix_of(path: str | Path) -> str | None:
    """The suffix of a file that can be read (".nii.gz"), None for any other."""
    return next((suffix for suffix in READERS if Path(path).name.lower().endswith(suffix)), None)


def stem_of(path: str | Path) -> str:
    """The name of a file without its folder and without ".nii.gz" and the like."""
    name = Path(path).name
    return name[: -len(suffix_of(path) or "") or None]


def read_file(path: str | Path) -> Volume:
    """Read a volume in whatever format its name says.

    Raises:
        DataError: if the suffix is unknown; or what the format's reader raises.
    """
    return _format_of(path).read_volume(path)


def read_grid(path: str | Path) -> Grid:
    """Shape and affine of a file, from its header alone."""
    return _format_of(path).read_grid(path)


def channel_names(paths: Iterable[Path]) -> tuple[str, ...]:
    """Names for the channels of a dataset that gives none: "image", or "image1", "image2", ... on a fourth axis.

    The first file whose header can be read decides; the others `check` names. Where none can, there is one channel.
    """
    for path in paths:
        try:
            shape = read_grid(path).shape
        except DataError:
            continue
        count = shape[3] if len(shape) == 4 else 1
        return ("image",) if count == 1 else tuple(f"image{index}" for index in range(1, count + 1))
    return ("image",)


def _format_of(path: str | Path) -> Format:
    if Path(path).is_dir() or Path(path).suffix.lower() == ".dcm":
        return _DICOM
    suffix = suffix_of(path)
    if suffix is None:
        found = f"is no file dimlift can read ({', '.join(READERS)}, folder of a DICOM series)"
        raise Finding(str(path), "error", found, "convert it to .nii.gz").as_error()
    return READERS[suffix]


def by_name(files: Iterable[Path]) -> dict[str, Path]:
    """Files by their names without suffix.

    Raises:
        DataError: if two have one name (a.nii and a.nii.gz): nobody can say which of them is meant.
    """
    named: dict[str, Path] = {}
    for file in files:
        other = named.setdefault(stem_of(file), file)
        if other is not file:
            raise Finding(
                str(file), "error", f"has the name of {other.name} beside it", "remove one of them"
            ).as_error()
    return named


def volumes_in(folder: Path) -> list[Path]:
    """The readable files and DICOM series of a folder, sorted; hidden ones (macOS's `._` twins too) left out."""
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and (is_series(path) if path.is_dir() else suffix_of(path))
    )
