"""Safe extraction of untrusted tar and zip files: entries stay inside the target folder, and output size is bounded.

Sizes stated by an archive are not trusted: the extracted bytes are counted. Python's `extractall` can write outside its
folder (tar) and has no size limit (tar and zip).
"""

import errno
import logging
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO

from dimlift.data.io.tar_stream import iterate_tar
from dimlift.data.issue import Issue
from dimlift.errors import CorruptFileError, DataError

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
FOLDER_SUFFIX = ".unpacked"

_READ_BYTES = 1 << 20
_CORRUPT = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, EOFError, struct.error, ValueError, OverflowError,
    NotImplementedError, LookupError, RuntimeError,
)  # fmt: skip
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)
"""Errors of the disk; any other OSError is caused by the archive (a file where it has a folder, a name too long)."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ArchiveLimits:
    """Upper bounds on the content of an archive.

    Attributes:
        entries: number of files and folders.
        ratio: extracted bytes per byte of the archive. Volumes in .nii.gz do not compress further; masks in .nii
            compress to about a hundredth.
        always: bytes that are allowed regardless of the ratio.
    """

    entries: int = 200_000
    ratio: float = 200.0
    always: int = 64 << 20


def is_archive(path: Path) -> bool:
    """Return whether a file has the suffix of an archive."""
    return path.name.lower().endswith(SUFFIXES) and path.is_file()


def unpacked_folder(path: Path, limits: ArchiveLimits | None = None) -> Path:
    """Return the folder `<archive>.unpacked` next to an archive; it is extracted once, completely or not at all.

    Returns:
        That folder, or its only subfolder.

    Raises:
        DataError: if an entry would be written outside the folder or is not a plain file, or a limit is exceeded.
        CorruptFileError: if the archive is truncated or corrupt.
    """
    folder = path.with_name(path.name + FOLDER_SUFFIX)
    if not folder.is_dir():
        scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            scratch.mkdir()
            extract_archive(path, scratch, limits or ArchiveLimits())
            os.replace(scratch, folder)
            _log.warning("extracted %s to %s", path, folder)
        except OSError as fault:
            message = f"cannot be extracted to {folder}: {fault.strerror or fault}"
            fix = "free some space, or extract it elsewhere and pass that folder"
            raise Issue(str(path), "error", message, fix).as_error() from fault
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    elif folder.stat().st_mtime < path.stat().st_mtime:
        message = f"has changed since it was extracted to {folder}"
        raise Issue(str(path), "error", message, "delete that folder to extract it again").as_error()
    inside = [entry for entry in folder.iterdir() if not entry.name.startswith((".", "__MACOSX"))]
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def extract_archive(path: Path, target: Path, limits: ArchiveLimits) -> None:
    """Write every file of an archive into an empty folder.

    Raises:
        DataError, CorruptFileError: as `unpacked_folder`; the caller removes what was written before the error.
    """
    max_bytes = int(max(limits.always, limits.ratio * path.stat().st_size))
    written = 0
    try:
        for count, (name, stream) in enumerate(_members(path), start=1):
            if count > limits.entries:
                raise _refused(path, f"has more than {limits.entries:,} entries")
            destination = target / _relative_path(path, name)
            if stream is None:
                destination.mkdir(parents=True, exist_ok=True)
                continue
            if destination.exists():
                raise _refused(path, f"holds {name!r} twice")
            destination.parent.mkdir(parents=True, exist_ok=True)
            with destination.open("xb") as out:
                while piece := stream.read(_READ_BYTES):
                    written += len(piece)
                    if written > max_bytes:
                        size = path.stat().st_size
                        raise _refused(path, f"({size:,} bytes) extracts to more than {max_bytes:,} bytes")
                    out.write(piece)
    except DataError:
        raise
    except (*_CORRUPT, OSError) as fault:
        if isinstance(fault, OSError) and fault.errno in _DISK_ERRORS:
            raise
        message, fix = f"cannot be extracted ({fault})", "download or copy it again from its source"
        raise Issue(str(path), "error", message, fix).as_error(CorruptFileError) from fault


def _members(path: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Yield name and stream of every entry; the stream of a folder is None."""
    if not path.name.lower().endswith(".zip"):
        for member, stream in iterate_tar(path):
            if not (member.isreg() or member.isdir()) or member.issparse():
                raise _refused(path, f"holds {member.name!r}, which is a link, a device or a sparse file")
            yield member.name, stream
        return
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(path, f"holds {entry.filename!r}, which is a link or a device")
            if entry.flag_bits & 1:
                raise _refused(path, f"holds {entry.filename!r}, which is encrypted")
            if entry.filename.endswith("/"):  # `is_dir` fails on an empty name
                yield entry.filename, None
            else:
                with archive.open(entry) as stream:
                    yield entry.filename, stream


def _relative_path(path: Path, name: str) -> PurePosixPath:
    """Return the name of an entry as a relative path without parent folders."""
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or "\\" in name or ":" in name or not name.isprintable():
        raise _refused(path, f"holds {name!r}, which is outside the folder it is extracted to")
    return parts


def _refused(path: Path, message: str) -> DataError:
    return Issue(str(path), "error", message, "use an archive of plain files and folders").as_error()
