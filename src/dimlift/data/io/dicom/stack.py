"""Geometry of a DICOM series: slices sorted along their normal, and required to be one even, orthogonal stack.

The order of file names and instance numbers is not reliable and is not used. The position of a slice is its
ImagePositionPatient along the normal of its ImageOrientationPatient (DICOM PS3.3 C.7.6.2.1.1).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimlift.data.io.dicom.frames import Slice
from dimlift.data.io.dicom.slice_files import EXPORT_AGAIN
from dimlift.data.issue import Issue
from dimlift.errors import DataError

TOLERANCE = 0.1
"""Largest distance, in voxels, of a slice from its position in an even, orthogonal stack."""

SEPARATE = "put each series into a folder of its own"


def sort_stack(folder: Path, slices: Sequence[Slice]) -> tuple[list[Slice], NDArray[np.float64]]:
    """Return the slices along their normal, and the affine to millimetres (left, posterior, superior).

    Raises:
        DataError: if slices are not parallel or have other pixels, two have the same position, one is missing, gaps are
            uneven, or the stack leans (gantry tilt).
    """

    def column(name: str, count: int) -> NDArray[np.float64]:
        return np.array([_numbers(one, name, count) for one in slices])

    orientations, positions = column("ImageOrientationPatient", 6), column("ImagePositionPatient", 3)
    pixels = column("PixelSpacing", 2)
    _require_alike(folder, slices, orientations, pixels)
    row_axis, column_axis = _plane_axes(folder / slices[0].name, orientations[0])
    normal = np.cross(row_axis, column_axis)
    offsets = positions @ normal
    order = np.argsort(offsets, kind="stable")
    ordered, positions, offsets = [slices[index] for index in order], positions[order], offsets[order]
    step = _slice_step(folder, ordered, positions, offsets, normal, pixels[0])
    affine = np.eye(4)
    affine[:3, :3] = np.stack([row_axis * pixels[0][1], column_axis * pixels[0][0], step], axis=1)
    affine[:3, 3] = positions[0]
    return ordered, affine


def _require_alike(
    folder: Path, slices: Sequence[Slice], orientations: NDArray[np.float64], pixels: NDArray[np.float64]
) -> None:
    """Raise unless all slices are parallel and have the same pixel size."""
    rotation = np.abs(orientations - np.median(orientations, axis=0)).max(axis=1)
    if rotation.max() > 1e-3:
        file = folder / slices[int(rotation.argmax())].name
        message = "has another orientation than the other slices of its folder (a localiser, or a second stack)"
        raise Issue(str(file), "error", message, SEPARATE).as_error()
    scale = np.abs(pixels / np.median(pixels, axis=0) - 1).max(axis=1)
    if not (pixels > 0).all() or scale.max() > 1e-4:
        file = folder / slices[int(scale.argmax())].name
        size = " x ".join(f"{value:g}" for value in pixels[int(scale.argmax())])
        message = f"has pixels of {size} mm, unlike the rest of its folder"
        raise Issue(str(file), "error", message, SEPARATE).as_error()


def _plane_axes(path: Path, orientation: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return unit vectors along a row (towards the next column) and along a column (towards the next row)."""
    row, column = orientation[:3], orientation[3:]
    lengths = float(np.linalg.norm(row)), float(np.linalg.norm(column))
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(float(row @ column))) > 1e-3:
        message = f"has ImageOrientationPatient {orientation.tolist()}; two orthogonal unit vectors are expected"
        raise Issue(str(path), "error", message, EXPORT_AGAIN).as_error()
    return row, column


def _slice_step(
    folder: Path,
    slices: Sequence[Slice],
    positions: NDArray[np.float64],
    offsets: NDArray[np.float64],
    normal: NDArray[np.float64],
    pixel: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the vector from one slice to the next in millimetres.

    Raises:
        DataError: if the gaps are uneven, or the vector is not along the normal.
    """
    if len(slices) == 1:
        thickness = slices[0].header.get("SpacingBetweenSlices") or slices[0].header.get("SliceThickness")
        if not thickness or float(thickness) <= 0:
            message = "holds one slice without a slice thickness"
            raise Issue(str(folder), "error", message, "pass the whole series").as_error()
        return normal * float(thickness)
    gaps = np.diff(offsets)
    usual = float(np.median(gaps))
    if gaps.min() <= TOLERANCE * max(usual, 1e-6):
        index = int(gaps.argmin())
        message = f"holds two slices at the same position ({slices[index].name} and {slices[index + 1].name})"
        fix = "keep one of them; if it is a time series or has several echoes, put each volume into a folder of its own"
        raise Issue(str(folder), "error", message, fix).as_error()
    if gaps.max() > 1.5 * usual:
        index = int(gaps.argmax())
        count = max(1, round(gaps[index] / usual) - 1)
        message = (
            f"lacks {count} slice{'s' if count > 1 else ''} between {slices[index].name} and {slices[index + 1].name} "
            f"(a gap of {gaps[index]:.2f} mm; the usual gap is {usual:.2f} mm)"
        )
        raise Issue(str(folder), "error", message, EXPORT_AGAIN).as_error()
    step = (positions[-1] - positions[0]) / (len(slices) - 1)
    uneven = np.abs(offsets - offsets[0] - np.arange(len(slices)) * float(step @ normal)) / float(step @ normal)
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


def _numbers(one: Slice, name: str, count: int) -> NDArray[np.float64]:
    value: Any = one.header.get(name)
    try:
        numbers = np.array([float(number) for number in value], dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise _not_numbers(one, f"{name} {value}; {count} numbers are expected")
    return numbers


def _not_numbers(one: Slice, stated: str) -> DataError:
    return Issue(str(one.file.with_name(one.name)), "error", f"has {stated}", EXPORT_AGAIN).as_error()
