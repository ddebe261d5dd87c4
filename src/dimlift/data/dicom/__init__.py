"""DICOM in and out. `objects` alone imports pydicom, `segmentation` alone imports highdicom."""
