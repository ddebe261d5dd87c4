"""Slices of DICOM files: a file of one slice, or an enhanced multi-frame file, whose frames have headers of their own.

Enhanced objects keep position, orientation, pixel size and rescaling of every frame in functional groups, shared by all
frames or stated for each (DICOM PS3.3 C.7.6.16).
"""

from pathlib import Path
from typing import Any, NamedTuple

from dimlift.data.io.dicom.objects import make_object, read_object
from dimlift.data.issue import Issue
from dimlift.errors import CorruptFileError

_EXPORT = "export it again from the archive"
_GROUPS = {
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
}
_COPIED = (
    "Modality", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID",
    "SOPClassUID", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation",
)  # fmt: skip
_DISTINCT = {"StackID": "stacks", "TemporalPositionIndex": "time points"}


class Slice(NamedTuple):
    """One slice.

    Attributes:
        file: where it is stored.
        header: its header, without pixels; for a frame, made from the functional groups.
        frame: its index in a multi-frame file, None in a file of one slice.
    """

    file: Path
    header: Any
    frame: int | None

    @property
    def name(self) -> str:
        """Name for messages."""
        return self.file.name if self.frame is None else f"{self.file.name} (frame {self.frame + 1})"


def read_file_slices(path: Path) -> list[Slice]:
    """Read the headers of the slices of one file.

    Raises:
        CorruptFileError: if it cannot be parsed, or has another number of frames than of their headers.
        DataError: if it holds several frames without headers, several stacks or several time points.
    """
    header = read_object(path)
    frames = int(header.get("NumberOfFrames", 1) or 1)
    groups = header.get("PerFrameFunctionalGroupsSequence")
    if not groups:
        if frames > 1:
            message = "holds several frames in one file, without functional groups that state their positions"
            fix = "export it as one file per slice, or as an enhanced object"
            raise Issue(str(path), "error", message, fix).as_error()
        return [Slice(path, header, None)]
    if len(groups) != frames:
        message = f"holds several frames in one file: {frames}, but states the positions of {len(groups)}"
        raise Issue(str(path), "error", message, _EXPORT).as_error(CorruptFileError)
    _require_one_stack(path, groups)
    shared = (header.get("SharedFunctionalGroupsSequence") or [{}])[0]
    return [Slice(path, _frame_header(header, shared, group), index) for index, group in enumerate(groups)]


def _require_one_stack(path: Path, groups: Any) -> None:
    for name, description in _DISTINCT.items():
        values = {str(_first(group, "FrameContentSequence").get(name, "")) for group in groups}
        if len(values) > 1:
            message = f"holds {len(values)} {description} in one file"
            raise Issue(str(path), "error", message, "export each into a file and a folder of its own").as_error()


def _frame_header(header: Any, shared: Any, group: Any) -> Any:
    fields = {name: header.get(name) for name in _COPIED if header.get(name) is not None}
    for sequence, names in _GROUPS.items():
        stated = _first(group, sequence) or _first(shared, sequence)
        fields.update({name: stated.get(name) for name in names if stated.get(name) is not None})
    return make_object(fields)


def _first(group: Any, sequence: str) -> Any:
    """Return the only item of a sequence, an empty mapping if there is none."""
    items = group.get(sequence)
    return items[0] if items else {}
