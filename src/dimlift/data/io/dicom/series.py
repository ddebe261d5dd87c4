"""A DICOM series: the files of a folder, sorted by slice position and required to be one orthogonal stack.

The order of file names and instance numbers is not reliable and is not used. The position of a slice is its
ImagePositionPatient along the normal of its ImageOrientationPatient (DICOM PS3.3 C.7.6.2.1.1).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimlift.data.io.dicom.objects import is_dicom, read_object
from dimlift.data.issue import Issue
from dimlift.errors import CorruptFileError, DataError

TOLERANCE = 0.1
"""Largest distance, in voxels, of a slice from its position in an even, orthogonal stack."""

_SHARED_ATTRIBUTES = (
    ("Modality", "of several modalities"),
    ("PatientID", "of several patients"),
    ("SeriesInstanceUID", "of several series"),
    ("FrameOfReferenceUID", "in several frames of reference"),
    ("Rows", "of several sizes"),
    ("Columns", "of several sizes"),
)
_REQUIRED = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "SOPInstanceUID")
_SUFFIXES = (".dcm", ".dicom", ".ima")
_SEPARATE = "put each series into a folder of its own"
_EXPORT_AGAIN = "export the series again from the archive"


@dataclass(frozen=True, eq=False)
class Series:
    """One orthogonal stack of slices.

    Attributes:
        files: sorted by position along the normal of the slices.
        slices: their headers, without pixels.
        affine: (4, 4) (column, row, slice) to millimetres (right, anterior, superior).
        patient: patientID.
    """

    files: tuple[Path, ...]
    slices: tuple[Any, ...] = field(repr=False)
    affine: NDArray[np.float64] = field(repr=False)
    patient: str = field(repr=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(columns, rows, slices)."""
        return int(self.slices[0].Columns), int(self.slices[0].Rows), len(self.slices)


def is_series(folder: Path) -> bool:
    """Return whether a folder directly contains DICOM files."""
    return folder.is_dir() and any(is_dicom(path) for path in _dicom_files(folder))


def read_series(folder: Path) -> Series:
    """Read the headers of a folder and sort them by position.

    Raises:
        CorruptFileError: if a file is not a complete DICOM file.
        DataError: if the files are of several series, patients or sizes; if a slice has no position, two slices have
            the same one, a slice is missing or gaps are uneven; for a tilted gantry; for several frames in one file.
    """
    files = _dicom_files(folder)
    if not files:
        raise Issue(str(folder), "error", "holds no DICOM file", "pass the folder of one series").as_error()
    for path in files:
        if not is_dicom(path):
            raise Issue(str(path), "error", "is not a complete DICOM file", _EXPORT_AGAIN).as_error(CorruptFileError)
    slices = [read_object(path) for path in files]
    for path, header in zip(files, slices, strict=True):
        _require_slice(path, header)
    _require_one_series(folder, files, slices)

    def column(name: str, count: int) -> NDArray[np.float64]:
        return np.array([_numbers(path, header, name, count) for path, header in zip(files, slices, strict=True)])

    orientations, positions = column("ImageOrientationPatient", 6), column("ImagePositionPatient", 3)
    pixels = column("PixelSpacing", 2)
    _require_alike(files, orientations, pixels)
    row_axis, column_axis = _plane_axes(files[0], orientations[0])
    normal = np.cross(row_axis, column_axis)
    offsets = positions @ normal
    order = np.argsort(offsets, kind="stable")
    files, slices = [files[index] for index in order], [slices[index] for index in order]
    positions, offsets = positions[order], offsets[order]
    step = _slice_step(folder, files, slices, positions, offsets, normal, pixels[0])
    affine = np.eye(4)
    affine[:3, :3] = np.stack([row_axis * pixels[0][1], column_axis * pixels[0][0], step], axis=1)
    affine[:3, 3] = positions[0]
    patient = str(slices[0].get("PatientID", "") or "")
    return Series(tuple(files), tuple(slices), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, patient)


def _dicom_files(folder: Path) -> list[Path]:
    """Return files that have the DICOM magic bytes or a DICOM suffix."""
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".")
        and path.name.upper() != "DICOMDIR"
        and path.is_file()
        and (path.suffix.lower() in _SUFFIXES or is_dicom(path))
    )


def _require_slice(path: Path, header: Any) -> None:
    """Raise unless a header is that of a single-frame greyscale image with a position."""
    if int(header.get("NumberOfFrames", 1) or 1) > 1 or "PerFrameFunctionalGroupsSequence" in header:
        fix = "export it as one file per slice"
        raise Issue(str(path), "error", "holds several frames in one file", fix).as_error()
    missing = [name for name in _REQUIRED if header.get(name) in (None, "")]
    if missing:
        modality = str(header.get("Modality", "object"))
        message = f"is a {modality} file without {', '.join(missing)}, so its position is unknown"
        raise Issue(str(path), "error", message, "remove it, or export the original series").as_error()
    photometric = str(header.get("PhotometricInterpretation", "MONOCHROME2"))
    if int(header.get("SamplesPerPixel", 1)) != 1 or photometric != "MONOCHROME2":
        message = f"has {photometric} pixels; greyscale pixels (MONOCHROME2) are expected"
        raise Issue(str(path), "error", message, "export the original series, not a screenshot").as_error()


def _require_one_series(folder: Path, files: Sequence[Path], slices: Sequence[Any]) -> None:
    for name, description in _SHARED_ATTRIBUTES:
        values = Counter(str(header.get(name, "")) for header in slices)
        if len(values) > 1:
            (usual, many), *_, (other, few) = values.most_common()
            example = next(
                path.name for path, header in zip(files, slices, strict=True) if str(header.get(name, "")) == other
            )
            shown = f" ({name} {usual} in {many} files, {other} in {few}, such as {example})"
            message = f"holds files {description}{'' if name == 'PatientID' else shown}"  # patient ids stay private
            raise Issue(str(folder), "error", message, _SEPARATE).as_error()
    copies = Counter(str(header.SOPInstanceUID) for header in slices)
    uid, count = copies.most_common(1)[0]
    if count > 1:
        names = [path.name for path, header in zip(files, slices, strict=True) if str(header.SOPInstanceUID) == uid]
        message = f"holds the same slice under {count} names ({', '.join(names[:3])})"
        raise Issue(str(folder), "error", message, "keep one of them").as_error()


def _require_alike(files: Sequence[Path], orientations: NDArray[np.float64], pixels: NDArray[np.float64]) -> None:
    """Raise unless all slices are parallel and have the same pixel size."""
    rotation = np.abs(orientations - np.median(orientations, axis=0)).max(axis=1)
    if rotation.max() > 1e-3:
        file = files[int(rotation.argmax())]
        message = "has another orientation than the other slices of its folder (a localiser, or a second stack)"
        raise Issue(str(file), "error", message, _SEPARATE).as_error()
    scale = np.abs(pixels / np.median(pixels, axis=0) - 1).max(axis=1)
    if not (pixels > 0).all() or scale.max() > 1e-4:
        file = files[int(scale.argmax())]
        size = " x ".join(f"{value:g}" for value in pixels[int(scale.argmax())])
        message = f"has pixels of {size} mm, unlike the rest of its folder"
        raise Issue(str(file), "error", message, _SEPARATE).as_error()


def _plane_axes(path: Path, orientation: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return unit vectors along a row (towards the next column) and along a column (towards the next row)."""
    row, column = orientation[:3], orientation[3:]
    lengths = float(np.linalg.norm(row)), float(np.linalg.norm(column))
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(float(row @ column))) > 1e-3:
        message = f"has ImageOrientationPatient {orientation.tolist()}; two orthogonal unit vectors are expected"
        raise Issue(str(path), "error", message, _EXPORT_AGAIN).as_error()
    return row, column


def _slice_step(
    folder: Path,
    files: Sequence[Path],
    slices: Sequence[Any],
    positions: NDArray[np.float64],
    offsets: NDArray[np.float64],
    normal: NDArray[np.float64],
    pixel: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the vector from one slice to the next in millimetres.

    Raises:
        DataError: if the gaps are uneven, or the vector is not along the normal.
    """
    if len(files) == 1:
        thickness = slices[0].get("SpacingBetweenSlices") or slices[0].get("SliceThickness")
        if not thickness or float(thickness) <= 0:
            message = "holds one slice without a slice thickness"
            raise Issue(str(folder), "error", message, "pass the whole series").as_error()
        return normal * float(thickness)
    gaps = np.diff(offsets)
    usual = float(np.median(gaps))
    if gaps.min() <= TOLERANCE * max(usual, 1e-6):
        index = int(gaps.argmin())
        message = f"holds two slices at the same position ({files[index].name} and {files[index + 1].name})"
        fix = "keep one of them; if it is a time series or has several echoes, put each volume into a folder of its own"
        raise Issue(str(folder), "error", message, fix).as_error()
    if gaps.max() > 1.5 * usual:
        index = int(gaps.argmax())
        count = max(1, round(gaps[index] / usual) - 1)
        message = (
            f"lacks {count} slice{'s' if count > 1 else ''} between {files[index].name} and {files[index + 1].name} "
            f"(a gap of {gaps[index]:.2f} mm; the usual gap is {usual:.2f} mm)"
        )
        raise Issue(str(folder), "error", message, _EXPORT_AGAIN).as_error()
    step = (positions[-1] - positions[0]) / (len(files) - 1)
    uneven = np.abs(offsets - offsets[0] - np.arange(len(files)) * float(step @ normal)) / float(step @ normal)
    if uneven.max() > TOLERANCE:
        message = f"has uneven gaps between slices, from {gaps.min():.3f} to {gaps.max():.3f} mm"
        raise Issue(str(folder), "error", message, "resample it to even slices, or export it again").as_error()
    sideways = positions - positions[0] - np.outer(offsets - offsets[0], normal)
    drift = np.linalg.norm(sideways, axis=1).max() / float(pixel.min())
    if drift > TOLERANCE:
        angle = np.degrees(np.arctan2(np.linalg.norm(step - (step @ normal) * normal), float(step @ normal)))
        message = f"is tilted by {angle:.2f} degrees (gantry tilt): its slices shift sideways by {drift:.1f} pixels"
        raise Issue(str(folder), "error", message, "resample it to orthogonal slices, as dcm2niix does").as_error()
    return step


def _numbers(path: Path, header: Any, name: str, count: int) -> NDArray[np.float64]:
    try:
        numbers = np.array([float(value) for value in header.get(name)], dtype=np.float64)
    except (TypeError, ValueError) as fault:
        raise _not_numbers(path, name, header, count) from fault
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise _not_numbers(path, name, header, count)
    return numbers


def _not_numbers(path: Path, name: str, header: Any, count: int) -> DataError:
    message = f"has {name} {header.get(name)}; {count} numbers are expected"
    return Issue(str(path), "error", message, _EXPORT_AGAIN).as_error()
