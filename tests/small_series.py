"""DICOM series made with pydicom, not with the code under test."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4"}
UPRIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
PIXELS = (0.7, 1.1)
"""Between rows, between columns."""
GAP = 3.3
SIZES = (4, 5, 6)
"""Columns, rows, slices."""


def make_slices(
    array: np.ndarray, modality: str = "CT", sides: tuple = UPRIGHT, patient: str = "P1", study: str = ""
) -> list[FileDataset]:
    """One dataset per slice of (columns, rows, slices) stored values."""
    row, column = np.array(sides[:3]), np.array(sides[3:])
    study, series, frame = study or generate_uid(), generate_uid(), generate_uid()
    made = []
    for index in range(array.shape[2]):
        uid = generate_uid()
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CLASSES[modality], uid
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
        one.SOPClassUID, one.SOPInstanceUID, one.Modality = CLASSES[modality], uid, modality
        one.PatientName, one.PatientID, one.PatientBirthDate, one.PatientSex = "Test^Patient", patient, "19700101", "O"
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = study, series, frame
        one.StudyDate, one.StudyTime, one.StudyID, one.AccessionNumber = "20200101", "120000", "1", "A1"
        one.ReferringPhysicianName, one.SeriesNumber, one.InstanceNumber = "", 1, index + 1
        one.ImageOrientationPatient = [f"{value:.12g}" for value in sides]
        place = np.array([-30.5, 12.25, 7.0]) + index * GAP * np.cross(row, column)
        one.ImagePositionPatient = [f"{value:.12g}" for value in place]
        one.PixelSpacing, one.SliceThickness = [str(PIXELS[0]), str(PIXELS[1])], str(GAP)
        one.Columns, one.Rows = array.shape[:2]
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
        if modality == "CT":
            one.RescaleSlope, one.RescaleIntercept = "1", "-1024"
        one.PixelData = array[:, :, index].T.astype("<i2").tobytes()
        made.append(one)
    return made


def save_slices(folder: Path, slices: list[FileDataset], names: list[str] | None = None) -> Path:
    """Write them under names that say nothing about their order."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, one in enumerate(slices):
        name = names[index] if names else f"IM{(index * 7919) % 1009:04d}.dcm"
        pydicom.dcmwrite(folder / name, one, enforce_file_format=True)
    return folder


def numbered() -> np.ndarray:
    """Every voxel another value."""
    return np.arange(np.prod(SIZES), dtype=np.int16).reshape(SIZES)
