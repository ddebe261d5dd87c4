"""Write label maps on the grid and the axes of the input, in its format or another one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dimlift.data.io import nifti
from dimlift.data.io.dicom.series import Series, has_frames, is_series
from dimlift.data.io.metaimage import write_mha_volume
from dimlift.data.io.nrrd import write_nrrd_volume
from dimlift.data.io.readers import volume_suffix
from dimlift.data.issue import Issue
from dimlift.errors import DataError, UnknownNameError


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A label map and its grid.

    Attributes:
        array: label values, (i, j, k) on the axes of the input file; may be a memory map.
        affine: affine of the input, (4, 4).
        source: the input file or folder.
        header: header of the input (`Volume.header`).
        names: label name to value.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    source: Path
    header: Any = None
    names: Mapping[str, int] | None = None


class LabelFormat(NamedTuple):
    """An output format.

    Attributes:
        suffixes: accepted suffixes, the default one first.
        write: writes a label map and returns its path.
    """

    suffixes: tuple[str, ...]
    write: Callable[[Path, LabelMap], Path]


def write_labels(path: str | Path, labels: LabelMap, output_format: str | None = None) -> Path:
    """Write a label map atomically.

    Args:
        path: where to write.
        labels: what to write.
        output_format: key of `LABEL_FORMATS`; None uses the suffix of the path.

    Raises:
        DataError: if a DICOM output is requested for an input that is not a DICOM series, or if the suffix is unknown.
    """
    path = Path(path)
    return get_label_format(output_format or label_format_of(path)).write(path, labels)


def get_label_format(name: str) -> LabelFormat:
    """Return an output format. Raises UnknownNameError if it does not exist."""
    if name not in LABEL_FORMATS:
        raise UnknownNameError("format", name, LABEL_FORMATS)
    return LABEL_FORMATS[name]


def default_label_format(source: Path) -> str:
    """Return the default output format for an input: the same format, for a DICOM series a DICOM segmentation.

    For an enhanced multi-frame file it is NIfTI.
    """
    if is_series(source):
        return "nifti" if has_frames(source) else "dicom-seg"
    return {".nrrd": "nrrd", ".nhdr": "nrrd", ".mha": "mha", ".mhd": "mha"}.get(volume_suffix(source) or "", "nifti")


def label_format_of(path: Path) -> str:
    """Return the output format of a file name.

    Raises:
        DataError: if no format has this suffix.
    """
    for name, label_format in LABEL_FORMATS.items():
        if path.name.lower().endswith(label_format.suffixes):
            return name
    known = ", ".join(suffix for label_format in LABEL_FORMATS.values() for suffix in label_format.suffixes)
    raise DataError(f"{path}: the suffix must be one of {known}; choose such a name")


def require_label_format(name: str, source: Path) -> None:
    """Raise if labels of an input cannot be written in a format; called before anything is computed.

    Raises:
        UnknownNameError: if there is no such format.
        DataError: if a DICOM output is requested for an input that is not a DICOM series, or is one multi-frame file.
    """
    get_label_format(name)
    if name not in ("dicom-seg", "rtstruct"):
        return
    if not is_series(source):
        raise _not_dicom(name, source)
    if has_frames(source):
        raise _multiframe(name, source)


def _not_dicom(name: str, source: Path) -> DataError:
    message = f"is not a DICOM series, so {name} has no patient, study and images to refer to"
    return Issue(str(source), "error", message, "pass the DICOM series, or write --format nifti").as_error()


def _multiframe(name: str, source: Path) -> DataError:
    message = f"is an enhanced multi-frame file, to which {name} files are not written"
    return Issue(str(source), "error", message, "write --format nifti").as_error()


def _write_nifti(path: Path, labels: LabelMap) -> Path:
    like = labels.header if hasattr(labels.header, "get_best_affine") else None
    return nifti.write_nifti_labels(path, labels.array, labels.affine, like)


def _write_nrrd(path: Path, labels: LabelMap) -> Path:
    return write_nrrd_volume(path, nifti.to_smallest_int(path, labels.array), labels.affine)


def _write_mha(path: Path, labels: LabelMap) -> Path:
    return write_mha_volume(path, nifti.to_smallest_int(path, labels.array), labels.affine)


def _write_segmentation(path: Path, labels: LabelMap) -> Path:
    from dimlift.data.io.dicom.segmentation import write_segmentation

    return write_segmentation(path, labels.array, labels.names or {}, _series(labels, "dicom-seg"))


def _write_rtstruct(path: Path, labels: LabelMap) -> Path:
    from dimlift.data.io.dicom.rtstruct import write_rtstruct

    return write_rtstruct(path, labels.array, labels.names or {}, _series(labels, "rtstruct"))


def _series(labels: LabelMap, name: str) -> Series:
    if not isinstance(labels.header, Series):
        raise _not_dicom(name, labels.source)
    if any(frame is not None for frame in labels.header.frames):
        raise _multiframe(name, labels.source)
    return labels.header


LABEL_FORMATS: dict[str, LabelFormat] = {
    "nifti": LabelFormat((".nii.gz", ".nii"), _write_nifti),
    "nrrd": LabelFormat((".nrrd",), _write_nrrd),
    "mha": LabelFormat((".mha",), _write_mha),
    "rtstruct": LabelFormat((".rtstruct.dcm",), _write_rtstruct),
    "dicom-seg": LabelFormat((".seg.dcm", ".dcm"), _write_segmentation),
}
"""Output formats, in the order in which suffixes are matched."""
