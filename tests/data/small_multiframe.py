"""Enhanced multi-frame DICOM made with pydicom, not with the code under test."""

import numpy as np
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from small_series import GAP, PIXELS, make_slices

ENHANCED = {"CT": "1.2.840.10008.5.1.4.1.1.2.1", "MR": "1.2.840.10008.5.1.4.1.1.4.1"}


def item(**fields: object) -> Sequence:
    """Return a sequence of one item."""
    one = Dataset()
    for name, value in fields.items():
        setattr(one, name, value)
    return Sequence([one])


def make_multiframe(
    array: np.ndarray, modality: str = "CT", sides: tuple = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), order: list | None = None
) -> FileDataset:
    """Return (columns, rows, slices) stored values as one file, its frames in any order."""
    slices = make_slices(array, modality, sides)
    slices = [slices[index] for index in order or range(len(slices))]
    file = slices[0].copy()
    file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = ENHANCED[modality]
    file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    file.NumberOfFrames = len(slices)
    file.PixelData = b"".join(one.PixelData for one in slices)
    shared = Dataset()
    shared.PixelMeasuresSequence = item(PixelSpacing=list(PIXELS), SliceThickness=GAP)
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=slices[0].ImageOrientationPatient)
    shared.PixelValueTransformationSequence = item(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU")
    file.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for number, one in enumerate(slices, start=1):
        group = Dataset()
        group.FrameContentSequence = item(StackID="1", InStackPositionNumber=number)
        group.PlanePositionSequence = item(ImagePositionPatient=one.ImagePositionPatient)
        groups.append(group)
    file.PerFrameFunctionalGroupsSequence = Sequence(groups)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(file, name)
    for name in ("RescaleSlope", "RescaleIntercept"):
        if name in file:
            delattr(file, name)
    return file
