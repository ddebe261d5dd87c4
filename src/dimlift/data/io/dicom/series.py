"""A DICOM series: the files of a folder, sorted by slice position and required to be one orthogonal stack."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimlift.data.io.dicom.frames import Slice, read_file_slices
from dimlift.data.io.dicom.slice_files import has_dicom_files, list_slice_files
from dimlift.data.io.dicom.stack import SEPARATE, sort_stack
from dimlift.data.issue import Issue

_SHARED_ATTRIBUTES = (
    ("Modality", "of several modalities"),
    ("PatientID", "of several patients"),
    ("SeriesInstanceUID", "of several series"),
    ("FrameOfReferenceUID", "in several frames of reference"),
    ("Rows", "of several sizes"),
    ("Columns", "of several sizes"),
)
_REQUIRED = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "SOPInstanceUID")


@dataclass(frozen=True, eq=False)
class Series:
    """One orthogonal stack of slices.

    Attributes:
        files: of every slice, sorted by position along the normal of the slices.
        slices: their headers, without pixels.
        affine: (4, 4) (column, row, slice) to millimetres (right, anterior, superior).
        patient: patientID.
        frames: index of every slice in its file; None for a file of one slice.
    """

    files: tuple[Path, ...]
    slices: tuple[Any, ...] = field(repr=False)
    affine: NDArray[np.float64] = field(repr=False)
    patient: str = field(repr=False)
    frames: tuple[int | None, ...] = field(repr=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(columns, rows, slices)."""
        return int(self.slices[0].Columns), int(self.slices[0].Rows), len(self.slices)


def is_series(folder: Path) -> bool:
    """Return whether a folder directly contains DICOM files."""
    return folder.is_dir() and has_dicom_files(folder)


def has_frames(folder: Path) -> bool:
    """Return whether a folder holds an enhanced multi-frame file, which DICOM outputs cannot refer to."""
    return is_series(folder) and any(one.frame is not None for one in read_file_slices(list_slice_files(folder)[0]))


def read_series(folder: Path) -> Series:
    """Read the headers of a folder and sort them by position.

    Raises:
        CorruptFileError: if a file is not a complete DICOM file, or is empty and named like the others.
        DataError: if the files are of several series, patients or sizes; if a slice has no position, two slices have
            the same one, a slice is missing or gaps are uneven; for a tilted gantry; for several stacks or time points.
    """
    files = list_slice_files(folder)
    if not files:
        raise Issue(str(folder), "error", "holds no DICOM file", "pass the folder of one series").as_error()
    slices = [one for path in files for one in read_file_slices(path)]
    for one in slices:
        _require_slice(one)
    _require_one_series(folder, slices)
    slices, affine = sort_stack(folder, slices)
    return Series(
        files=tuple(one.file for one in slices),
        slices=tuple(one.header for one in slices),
        affine=np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine,
        patient=str(slices[0].header.get("PatientID", "") or ""),
        frames=tuple(one.frame for one in slices),
    )


def _require_slice(one: Slice) -> None:
    """Raise unless a header is that of a greyscale image with a position."""
    path, header = one.file.with_name(one.name), one.header
    missing = [name for name in _REQUIRED if header.get(name) in (None, "")]
    if missing:
        modality = str(header.get("Modality", "object"))
        message = f"is a {modality} file without {', '.join(missing)}, so its position is unknown"
        raise Issue(str(path), "error", message, "remove it, or export the original series").as_error()
    photometric = str(header.get("PhotometricInterpretation", "MONOCHROME2"))
    if int(header.get("SamplesPerPixel", 1)) != 1 or photometric != "MONOCHROME2":
        message = f"has {photometric} pixels; greyscale pixels (MONOCHROME2) are expected"
        raise Issue(str(path), "error", message, "export the original series, not a screenshot").as_error()


def _require_one_series(folder: Path, slices: Sequence[Slice]) -> None:
    for name, description in _SHARED_ATTRIBUTES:
        values = Counter(str(one.header.get(name, "")) for one in slices)
        if len(values) > 1:
            (usual, many), *_, (other, few) = values.most_common()
            example = next(one.name for one in slices if str(one.header.get(name, "")) == other)
            shown = f" ({name} {usual} in {many} files, {other} in {few}, such as {example})"
            message = f"holds files {description}{'' if name == 'PatientID' else shown}"  # patient ids stay private
            raise Issue(str(folder), "error", message, SEPARATE).as_error()
    copies = Counter(str(one.header.SOPInstanceUID) for one in slices if not one.frame)
    uid, count = copies.most_common(1)[0]
    if count > 1:
        names = [one.file.name for one in slices if str(one.header.SOPInstanceUID) == uid and not one.frame]
        message = f"holds the same slice under {count} names ({', '.join(names[:3])})"
        raise Issue(str(folder), "error", message, "keep one of them").as_error()
