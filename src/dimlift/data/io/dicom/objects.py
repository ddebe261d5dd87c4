"""DICOM objects on disk through pydicom, which is imported only here."""

import logging
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from dimlift.data.issue import Issue
from dimlift.errors import CorruptFileError, DataError
from dimlift.records.atomic_write import atomic_write

_FIX = "export it again from the archive"
MAX_INFLATED_BYTES = 1 << 30
_DEFLATED = b"1.2.840.10008.1.2.1.99"


def read_object(path: Path, pixels: bool = False) -> Any:
    """Read a DICOM object, with or without its pixels; it may lack the preamble.

    Raises:
        CorruptFileError: if it cannot be parsed, or inflates to more than `MAX_INFLATED_BYTES`.
    """
    try:
        _require_plausible_deflate(path)
        content = import_pydicom().dcmread(path, stop_before_pixels=not pixels, force=True)
        if "TransferSyntaxUID" not in content.file_meta:
            content.file_meta.TransferSyntaxUID = _syntax_without_meta(*content.original_encoding)
    except DataError:
        raise
    except Exception as fault:  # pydicom raises errors of any kind for a corrupt file
        message = f"is not a complete DICOM file ({type(fault).__name__}: {fault})"
        raise Issue(str(path), "error", message, _FIX).as_error(CorruptFileError) from fault
    return content


def make_object(fields: Mapping[str, Any]) -> Any:
    """Return a DICOM dataset with these attributes by keyword; a list of mappings becomes a sequence."""
    dataset = import_pydicom().Dataset()
    for name, value in fields.items():
        nested = isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)
        setattr(dataset, name, [make_object(item) for item in value] if nested else value)
    return dataset


def add_file_meta(content: Any) -> Any:
    """Add the file meta information (SOP class, SOP instance, explicit VR little endian) to a dataset."""
    pydicom = import_pydicom()
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = content.SOPClassUID
    meta.MediaStorageSOPInstanceUID = content.SOPInstanceUID
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    content.file_meta = meta
    return content


def new_uid() -> str:
    """Return a new unique identifier."""
    return str(import_pydicom().uid.generate_uid(prefix=None))


def write_object(path: Path, content: Any) -> Path:
    """Write a DICOM file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as scratch, scratch.open("wb") as stream:
        content.save_as(stream, enforce_file_format=True)
    return path


@cache
def import_pydicom() -> Any:
    """Return pydicom without its log messages. Raises DataError if it is not installed."""
    try:
        import pydicom
        import pydicom.uid
    except ImportError as fault:
        raise DataError("DICOM needs the dicom extra: pip install 'dimlift[dicom]'") from fault
    logging.getLogger("pydicom").setLevel(logging.ERROR)
    return pydicom


def _syntax_without_meta(implicit: bool | None, little_endian: bool | None) -> Any:
    """Return the transfer syntax that pydicom has found in a file that does not state it."""
    uid = import_pydicom().uid
    if implicit or implicit is None:
        return uid.ImplicitVRLittleEndian
    return uid.ExplicitVRBigEndian if little_endian is False else uid.ExplicitVRLittleEndian


def _require_plausible_deflate(path: Path) -> None:
    """Raise if a deflated object is too large; pydicom inflates it at once, without a limit."""
    with path.open("rb") as stream:
        if _DEFLATED not in stream.read(2048):
            return
        meta = import_pydicom().filereader.read_file_meta_info(path)
        stream.seek(144 + int(meta.FileMetaInformationGroupLength))  # preamble, magic bytes and the group length itself
        inflater, count = zlib.decompressobj(-15), 0
        while not inflater.eof and (piece := inflater.unconsumed_tail or stream.read(1 << 16)):
            count += len(inflater.decompress(piece, 1 << 20))
            if count > MAX_INFLATED_BYTES:
                message = f"inflates to more than {MAX_INFLATED_BYTES >> 20} MiB"
                raise Issue(str(path), "error", message, _FIX).as_error(CorruptFileError)
