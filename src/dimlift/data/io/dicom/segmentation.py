"""Write a label map as a DICOM segmentation object through highdicom, which is imported only here."""

import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimlift.data.io.dicom.objects import make_object, new_uid, write_object
from dimlift.data.io.dicom.rtstruct import STUDY_ATTRIBUTES
from dimlift.data.io.dicom.series import Series
from dimlift.data.issue import Issue
from dimlift.errors import DataError

_SCHEME = "99DIMLIFT"
"""Private coding scheme: the names of a user's labels are not standard codes."""


def write_segmentation(path: Path, array: NDArray[Any], names: Mapping[str, int], series: Series) -> Path:
    """Write one binary segment per label, numbered 1, 2, ... in the order of the values.

    Args:
        path: where to write.
        array: (column, row, slice) label values on the grid of the series.
        names: label name to value.
        series: the series the labels refer to.

    Raises:
        DataError: if the series lacks an attribute that a segmentation must repeat.
    """
    highdicom, codes = _import_highdicom()
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name="dimlift", version=version("dimlift"), family=codes.DCM.ArtificialIntelligence
    )
    ordered = sorted(names.items(), key=lambda entry: entry[1])
    numbered = np.zeros(array.shape, dtype=np.uint8 if len(ordered) < 256 else np.uint16)
    segments = []
    for number, (name, value) in enumerate(ordered, start=1):
        numbered[array == value] = number
        segments.append(
            highdicom.seg.SegmentDescription(
                segment_number=number,
                segment_label=name[:64],
                segmented_property_category=codes.SCT.BodyStructure,
                segmented_property_type=highdicom.sr.CodedConcept(f"label{value}", _SCHEME, name[:64]),
                algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
                algorithm_identification=algorithm,
                tracking_uid=new_uid(),
                tracking_id=f"{name[:48]} {number}",
            )
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an empty segmentation, a comma in a name
        try:
            content = highdicom.seg.Segmentation(
                source_images=[_with_study_attributes(header) for header in series.slices],
                pixel_array=np.ascontiguousarray(numbered.transpose(2, 1, 0)),
                segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
                segment_descriptions=segments,
                series_instance_uid=new_uid(),
                series_number=1,
                sop_instance_uid=new_uid(),
                instance_number=1,
                manufacturer="dimlift",
                manufacturer_model_name="dimlift",
                software_versions=version("dimlift"),
                device_serial_number="0",
                content_label="SEGMENTATION",
                series_description="dimlift segmentation",
            )
        except (AttributeError, ValueError, KeyError) as fault:
            message = f"is a series that a segmentation cannot refer to ({fault})"
            fix = "repair its headers, or write another format (--format nifti)"
            raise Issue(str(series.files[0].parent), "error", message, fix).as_error() from fault
    return write_object(path, content)


def _with_study_attributes(header: Any) -> Any:
    """Return a header with all attributes of patient and study, empty where they are missing."""
    missing = {name: "" for name in STUDY_ATTRIBUTES if name not in header}
    if not missing:
        return header
    complete = make_object(missing)
    complete.update(header)
    complete.file_meta = header.file_meta
    return complete


def _import_highdicom() -> tuple[Any, Any]:
    try:
        import highdicom
        from pydicom.sr.codedict import codes
    except ImportError as fault:
        raise DataError("DICOM needs the dicom extra: pip install 'dimlift[dicom]'") from fault
    return highdicom, codes
