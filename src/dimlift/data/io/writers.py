"""Label maps out of the house: on the grid and the axes of the input, in its own format or another one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dimlift.data.io import itk, nifti
from dimlift.data.io.dicom.series import Series, is_series
from dimlift.data.io.readers import suffix_of
from dimlift.data.issue import Finding
from dimlift.errors import DataError, UnknownName


@dataclass(frozen=True, eq=False)
class LabelMap:
    """What is written.

    Attributes:
        array: label values, (i, j, k) on the axes of the input file; a memory map will do.
        affine: of the input, (4, 4).
        source: the input file or folder.
        header: of the input (`Volume.header`).
        names: label name to value.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    source: Path
    header: Any = None
    names: Mapping[str, int] | None = None


class Output(NamedTuple):
    """One format: the suffixes it may be called by, the usual one first, and how it is written."""

    suffixes: tuple[str, ...]
    write: Callable[[Path, LabelMap], Path]


def write_labels(path: str | Path, labels: LabelMap, kind: str | None = None) -> Path:
    """Write a label map in one piece: a reader sees the whole file or none.

    Args:
        kind: one of `OUTPUTS`; None takes the one that the path's suffix names.

    Raises:
        DataError: for a DICOM output of an input that is no DICOM series, or an unknown suffix.
    """
    path = Path(path)
    chosen = pick_output(kind) if kind is not None else OUTPUTS[kind_of(path)]
    return chosen.write(path, labels)


def pick_output(kind: str) -> Output:
    """Raises: UnknownName if there is no such format."""
    if kind not in OUTPUTS:
        raise UnknownName("format", kind, OUTPUTS)
    return OUTPUTS[kind]


def own_kind(source: Path) -> str:
    """The format an answer takes unless told otherwise: the input's own, for a DICOM series a segmentation."""
    if is_series(source):
        return "dicom-seg"
    return {".nrrd": "nrrd", ".mha": "mha"}.get(suffix_of(source) or "", "nifti")


def kind_of(path: Path) -> str:
    """The format a file name stands for.

    Raises:
        DataError: if its suffix is none of those that can be written.
    """
    for kind, output in OUTPUTS.items():
        if path.name.lower().endswith(output.suffixes):
            return kind
    known = ", ".join(suffix for output in OUTPUTS.values() for suffix in output.suffixes)
    raise DataError(f"{path}: can only write {known}; choose such a name")


def require_kind(kind: str, source: Path) -> None:
    """Stop before anything is computed if an output cannot be written for an input.

    Raises:
        UnknownName: if there is no such format.
        DataError: for a DICOM output of an input that is no DICOM series.
    """
    pick_output(kind)
    if kind in ("dicom-seg", "rtstruct") and not is_series(source):
        raise _no_dicom(kind, source)


def _no_dicom(kind: str, source: Path) -> DataError:
    found = f"is no DICOM series, so a {kind} of it could refer to no patient, study or image"
    return Finding(str(source), "error", found, "give the DICOM series itself, or write --format nifti").as_error()


def _write_nifti(path: Path, labels: LabelMap) -> Path:
    like = labels.header if hasattr(labels.header, "get_best_affine") else None
    return nifti.write_labels(path, labels.array, labels.affine, like)


def _write_itk(path: Path, labels: LabelMap) -> Path:
    return itk.write_volume(path, nifti.smallest_integers(path, labels.array), labels.affine, labels.header)


def _write_segmentation(path: Path, labels: LabelMap) -> Path:
    from dimlift.data.io.dicom.segmentation import write_segmentation

    return write_segmentation(path, labels.array, labels.names or {}, _series(labels, "dicom-seg"))


def _write_rtstruct(path: Path, labels: LabelMap) -> Path:
    from dimlift.data.io.dicom.rtstruct import write_rtstruct

    return write_rtstruct(path, labels.array, labels.names or {}, _series(labels, "rtstruct"))


def _series(labels: LabelMap, kind: str) -> Series:
    if not isinstance(labels.header, Series):
        raise _no_dicom(kind, labels.source)
    return labels.header


OUTPUTS: dict[str, Output] = {
    "nifti": Output((".nii.gz", ".nii"), _write_nifti),
    "nrrd": Output((".nrrd",), _write_itk),
    "mha": Output((".mha",), _write_itk),
    "rtstruct": Output((".rtstruct.dcm",), _write_rtstruct),
    "dicom-seg": Output((".seg.dcm", ".dcm"), _write_segmentation),
}
"""In the order that suffixes are tried."""
