"""Write a label map as an RT structure set: one region of interest per label, outlined along pixel borders.

Holes are outlined like islands (CLOSED_PLANAR contours under the even-odd rule), which is how planning systems and
converters interpret several contours on one slice. DICOM PS3.3 A.19.
"""

import colorsys
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimlift.data.io.dicom.contours import trace_outlines
from dimlift.data.io.dicom.objects import add_file_meta, make_object, new_uid, write_object
from dimlift.data.io.dicom.series import Series

_RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
_STUDY_COMPONENT_MANAGEMENT = "1.2.840.10008.3.1.2.3.1"
_LPS = np.array([-1.0, -1.0, 1.0])

STUDY_ATTRIBUTES = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""Attributes of patient and study that every object of a study repeats; empty if the images have none."""


def write_rtstruct(path: Path, array: NDArray[Any], names: Mapping[str, int], series: Series) -> Path:
    """Write the contours of a label map.

    Args:
        path: where to write.
        array: (column, row, slice) label values on the grid of the series.
        names: label name to value.
        series: the series the labels refer to.
    """
    first = series.slices[0]
    now = datetime.now().astimezone()
    frame = str(first.get("FrameOfReferenceUID", "") or new_uid())
    numbered = list(enumerate(names.items(), start=1))
    content = make_object(
        {
            **{name: first.get(name, "") for name in STUDY_ATTRIBUTES},
            "SOPClassUID": _RT_STRUCTURE_SET,
            "SOPInstanceUID": new_uid(),
            "SpecificCharacterSet": "ISO_IR 192",
            "Modality": "RTSTRUCT",
            "SeriesInstanceUID": new_uid(),
            "SeriesNumber": 1,
            "SeriesDescription": "dimlift contours",
            "OperatorsName": "",
            "Manufacturer": "dimlift",
            "SoftwareVersions": version("dimlift"),
            "InstanceNumber": 1,
            "FrameOfReferenceUID": frame,
            "PositionReferenceIndicator": "",
            "StructureSetLabel": "dimlift",
            "StructureSetDate": now.strftime("%Y%m%d"),
            "StructureSetTime": now.strftime("%H%M%S"),
            "InstanceCreationDate": now.strftime("%Y%m%d"),
            "InstanceCreationTime": now.strftime("%H%M%S"),
            "ApprovalStatus": "UNAPPROVED",
            "ReferencedFrameOfReferenceSequence": [_series_reference(frame, series)],
            "StructureSetROISequence": [
                {
                    "ROINumber": number,
                    "ReferencedFrameOfReferenceUID": frame,
                    "ROIName": name[:64],
                    "ROIDescription": f"value {value} in the label files",
                    "ROIGenerationAlgorithm": "AUTOMATIC",
                }
                for number, (name, value) in numbered
            ],
            "ROIContourSequence": [_region(number, array == value, series) for number, (_, value) in numbered],
            "RTROIObservationsSequence": [
                {
                    "ObservationNumber": number,
                    "ReferencedROINumber": number,
                    "RTROIInterpretedType": "",
                    "ROIInterpreter": "",
                }
                for number, _ in numbered
            ],
        }
    )
    return write_object(path, add_file_meta(content))


def _series_reference(frame: str, series: Series) -> dict[str, Any]:
    """Return the reference to the series of the contours."""
    first = series.slices[0]
    images = [_image_reference(header) for header in series.slices]
    return {
        "FrameOfReferenceUID": frame,
        "RTReferencedStudySequence": [
            {
                "ReferencedSOPClassUID": _STUDY_COMPONENT_MANAGEMENT,
                "ReferencedSOPInstanceUID": first.StudyInstanceUID,
                "RTReferencedSeriesSequence": [
                    {"SeriesInstanceUID": first.SeriesInstanceUID, "ContourImageSequence": images}
                ],
            }
        ],
    }


def _region(number: int, mask: NDArray[np.bool_], series: Series) -> dict[str, Any]:
    """Return one region of interest: its contours, each on one slice."""
    contours = []
    for index in np.flatnonzero(mask.any(axis=(0, 1))).tolist():
        for polygon in trace_outlines(mask[:, :, index]):
            corners = np.column_stack([polygon, np.full(len(polygon), float(index)), np.ones(len(polygon))])
            points = (corners @ series.affine.T)[:, :3] * _LPS
            contours.append(
                {
                    "ContourImageSequence": [_image_reference(series.slices[index])],
                    "ContourGeometricType": "CLOSED_PLANAR",
                    "NumberOfContourPoints": len(points),
                    "ContourData": [f"{value:.10g}" for value in points.ravel()],
                }
            )
    red, green, blue = colorsys.hsv_to_rgb(number * 0.618034 % 1, 0.8, 1.0)  # golden ratio: distinct hues
    region = {
        "ROIDisplayColor": [round(255 * red), round(255 * green), round(255 * blue)],
        "ReferencedROINumber": number,
    }
    return {**region, "ContourSequence": contours} if contours else region


def _image_reference(header: Any) -> dict[str, str]:
    return {"ReferencedSOPClassUID": header.SOPClassUID, "ReferencedSOPInstanceUID": header.SOPInstanceUID}
