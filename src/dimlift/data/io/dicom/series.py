"""A DICOM series: the files of a folder, put in order by where they lie, refused unless they are one upright stack.

The order of names and of instance numbers says nothing reliable about space, so neither is asked. A slice lies at its
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
from dimlift.data.issue import Finding
from dimlift.errors import DamagedFile, DataError

TOLERANCE = 0.1
"""How far a slice may lie from its place in an even, upright stack, in voxels."""

_SAME = (
    ("Modality", "of several modalities"),
    ("PatientID", "of several patients"),
    ("SeriesInstanceUID", "of several series"),
    ("FrameOfReferenceUID", "in several frames of reference"),
    ("Rows", "of several sizes"),
    ("Columns", "of several sizes"),
)
_NEEDED = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "SOPInstanceUID")
_IMAGE_SUFFIXES = ("", ".dcm", ".dicom", ".ima")
_APART = "put each series into a folder of its own"
_AGAIN = "export the series again from the archive"


@dataclass(frozen=True, eq=False)
class Series:
    """One upright stack of slices.

    Attributes:
        files: in the order of space, along the normal of the slices.
        slices: their headers, without pixels.
        affine: (4, 4) (column, row, slice) to millimetres (right, anterior, superior).
        patient: PatientID.
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
    """Whether a folder holds DICOM files directly."""
    return folder.is_dir() and any(is_dicom(path) for path in _files(folder))


def read_series(folder: Path) -> Series:
    """Read the headers of a folder and put them in order.

    Raises:
        DamagedFile: a file that is no whole DICOM file.
        DataError: files of several series, patients or sizes; a slice without a place in space; two slices at one
            place; a missing slice or uneven gaps; a tilted gantry; several frames in one file.
    """
    files = _files(folder)
    if not files:
        raise Finding(str(folder), "error", "holds no DICOM file", "give the folder of one series").as_error()
    for path in files:
        if not is_dicom(path):
            raise Finding(str(path), "error", "is no whole DICOM file", _AGAIN).as_error(DamagedFile)
    slices = [read_object(path) for path in files]
    for path, one in zip(files, slices, strict=True):
        _require_slice(path, one)
    _require_one_series(folder, files, slices)
    sides = [_numbers(path, one, "ImageOrientationPatient", 6) for path, one in zip(files, slices, strict=True)]
    places = np.array([_numbers(path, one, "ImagePositionPatient", 3) for path, one in zip(files, slices, strict=True)])
    pixels = np.array([_numbers(path, one, "PixelSpacing", 2) for path, one in zip(files, slices, strict=True)])
    _require_alike(files, np.array(sides), pixels)
    row, column = _axes(files[0], sides[0])
    along = places @ np.cross(row, column)
    order = np.argsort(along, kind="stable")
    files, slices = [files[index] for index in order], [slices[index] for index in order]
    places, along = places[order], along[order]
    step = _step(folder, files, slices, places, along, np.cross(row, column), pixels[0])
    affine = np.eye(4)
    affine[:3, :3] = np.stack([row * pixels[0][1], column * pixels[0][0], step], axis=1)
    affine[:3, 3] = places[0]
    patient = str(slices[0].get("PatientID", "") or "")
    return Series(tuple(files), tuple(slices), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, patient)


def _files(folder: Path) -> list[Path]:
    """Files that are DICOM, or are called so."""
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".")
        and path.name.upper() != "DICOMDIR"
        and path.is_file()
        and (path.suffix.lower() in _IMAGE_SUFFIXES[1:] or is_dicom(path))
    )


def _require_slice(path: Path, one: Any) -> None:
    """A single-frame grey image with a place in space."""
    if int(one.get("NumberOfFrames", 1) or 1) > 1 or "PerFrameFunctionalGroupsSequence" in one:
        remedy = "export it as one file per slice"
        raise Finding(str(path), "error", "holds several frames in one file", remedy).as_error()
    missing = [name for name in _NEEDED if one.get(name) in (None, "")]
    if missing:
        kind = str(one.get("Modality", "object"))
        found = f"is a {kind} file without {', '.join(missing)}: nobody can say where it lies"
        raise Finding(str(path), "error", found, "leave it out, or export the original series").as_error()
    grey = str(one.get("PhotometricInterpretation", "MONOCHROME2"))
    if int(one.get("SamplesPerPixel", 1)) != 1 or grey != "MONOCHROME2":
        found = f"has {grey} pixels; plain grey ones (MONOCHROME2) are wanted"
        raise Finding(str(path), "error", found, "export the original series, not a screenshot").as_error()


def _require_one_series(folder: Path, files: Sequence[Path], slices: Sequence[Any]) -> None:
    for name, words in _SAME:
        kinds = Counter(str(one.get(name, "")) for one in slices)
        if len(kinds) > 1:
            (usual, many), *_, (odd, few) = kinds.most_common()
            example = next(path.name for path, one in zip(files, slices, strict=True) if str(one.get(name, "")) == odd)
            private = name == "PatientID"
            shown = "" if private else f" ({name} {usual} in {many} files, {odd} in {few}, such as {example})"
            raise Finding(str(folder), "error", f"holds files {words}{shown}", _APART).as_error()
    copies = Counter(str(one.SOPInstanceUID) for one in slices)
    uid, count = copies.most_common(1)[0]
    if count > 1:
        names = [path.name for path, one in zip(files, slices, strict=True) if str(one.SOPInstanceUID) == uid]
        found = f"holds the same slice under {count} names ({', '.join(names[:3])})"
        raise Finding(str(folder), "error", found, "keep one of them").as_error()


def _require_alike(files: Sequence[Path], sides: NDArray[np.float64], pixels: NDArray[np.float64]) -> None:
    """All slices parallel and of one pixel size."""
    turned = np.abs(sides - np.median(sides, axis=0)).max(axis=1)
    if turned.max() > 1e-3:
        odd = files[int(turned.argmax())]
        found = "is turned against the other slices of its folder (a localiser, or a second stack)"
        raise Finding(str(odd), "error", found, _APART).as_error()
    sized = np.abs(pixels / np.median(pixels, axis=0) - 1).max(axis=1)
    if not (pixels > 0).all() or sized.max() > 1e-4:
        odd = files[int(sized.argmax())]
        size = " x ".join(f"{value:g}" for value in pixels[int(sized.argmax())])
        found = f"has pixels of {size} mm, other than the rest of its folder"
        raise Finding(str(odd), "error", found, _APART).as_error()


def _axes(path: Path, sides: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit vectors along a row (towards the next column) and along a column (towards the next row)."""
    row, column = sides[:3], sides[3:]
    lengths = float(np.linalg.norm(row)), float(np.linalg.norm(column))
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(float(row @ column))) > 1e-3:
        found = f"has the ImageOrientationPatient {sides.tolist()}, which is no pair of perpendicular unit vectors"
        raise Finding(str(path), "error", found, _AGAIN).as_error()
    return row, column


def _step(
    folder: Path,
    files: Sequence[Path],
    slices: Sequence[Any],
    places: NDArray[np.float64],
    along: NDArray[np.float64],
    normal: NDArray[np.float64],
    pixel: NDArray[np.float64],
) -> NDArray[np.float64]:
    """From one slice to the next, in millimetres; the same everywhere, and straight."""
    if len(files) == 1:
        thickness = slices[0].get("SpacingBetweenSlices") or slices[0].get("SliceThickness")
        if not thickness or float(thickness) <= 0:
            found = "holds one slice that does not say how thick it is"
            raise Finding(str(folder), "error", found, "give the whole series").as_error()
        return normal * float(thickness)
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    if gaps.min() <= TOLERANCE * max(usual, 1e-6):
        at = int(gaps.argmin())
        found = f"holds two slices at one place ({files[at].name} and {files[at + 1].name})"
        remedy = "keep one of them; if it is a series over time or of several echoes, put each volume into a folder"
        raise Finding(str(folder), "error", found, remedy).as_error()
    if gaps.max() > 1.5 * usual:
        at = int(gaps.argmax())
        count = max(1, round(gaps[at] / usual) - 1)
        found = (
            f"lacks {count} slice{'s' if count > 1 else ''} between {files[at].name} and {files[at + 1].name} "
            f"(a gap of {gaps[at]:.2f} mm where {usual:.2f} mm are usual)"
        )
        raise Finding(str(folder), "error", found, _AGAIN).as_error()
    step = (places[-1] - places[0]) / (len(files) - 1)
    uneven = np.abs(along - along[0] - np.arange(len(files)) * float(step @ normal)) / float(step @ normal)
    if uneven.max() > TOLERANCE:
        found = f"has uneven gaps between slices, of {gaps.min():.3f} to {gaps.max():.3f} mm"
        raise Finding(str(folder), "error", found, "resample it to even slices, or export it again").as_error()
    aside = places - places[0] - np.outer(along - along[0], normal)
    drift = np.linalg.norm(aside, axis=1).max() / float(pixel.min())
    if drift > TOLERANCE:
        lean = np.degrees(np.arctan2(np.linalg.norm(step - (step @ normal) * normal), float(step @ normal)))
        found = f"leans by {lean:.2f} degrees (tilted gantry): its slices shift sideways, {drift:.1f} pixels in all"
        raise Finding(str(folder), "error", found, "resample it to upright slices, as dcm2niix does").as_error()
    return step


def _numbers(path: Path, one: Any, name: str, count: int) -> NDArray[np.float64]:
    try:
        numbers = np.array([float(value) for value in one.get(name)], dtype=np.float64)
    except (TypeError, ValueError) as fault:
        raise _no_numbers(path, name, one, count) from fault
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise _no_numbers(path, name, one, count)
    return numbers


def _no_numbers(path: Path, name: str, one: Any, count: int) -> DataError:
    found = f"has the {name} {one.get(name)}, {count} numbers are wanted"
    return Finding(str(path), "error", found, _AGAIN).as_error()
