"""Unpack a tar or zip file that somebody else packed, so that it can neither leave its folder nor fill the disk.

Sizes stated in an archive are never believed: what comes out of the stream is counted. Python's own `extractall` writes
outside of its folder (tar) and has no limit of size (both).
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

from dimlift.data.io.tar_stream import members_of_tar
from dimlift.data.issue import Finding
from dimlift.errors import DamagedFile, DataError

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
UNPACKED = ".unpacked"
PIECE = 1 << 20

_BROKEN = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, EOFError, struct.error, ValueError, OverflowError,
    NotImplementedError, LookupError, RuntimeError,
)  # fmt: skip
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)
"""What the disk says; any other fault is the archive's (a file where it has a folder, a name too long)."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What an archive may hold.

    Attributes:
        entries: files and folders.
        ratio: bytes unpacked for each byte of the archive. Volumes in .nii.gz do not shrink again; masks in .nii
            shrink to about a hundredth.
        always: bytes that are allowed whatever the ratio.
    """

    entries: int = 200_000
    ratio: float = 200.0
    always: int = 64 << 20


def is_archive(path: Path) -> bool:
    """Whether a file is called like an archive."""
    return path.name.lower().endswith(SUFFIXES) and path.is_file()


def unpacked(path: Path, limits: Limits | None = None) -> Path:
    """The folder an archive unpacks to, `<archive>.unpacked` beside it: made once, whole or not at all.

    Returns:
        that folder, or the only folder in it.

    Raises:
        DataError: if an entry leads outside or is no plain file, there are too many, or they unpack to too much.
        DamagedFile: if the archive is cut off or broken.
    """
    folder = path.with_name(path.name + UNPACKED)
    if not folder.is_dir():
        scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            scratch.mkdir()
            unpack(path, scratch, limits or Limits())
            os.replace(scratch, folder)
            _log.warning("%s was unpacked to %s", path, folder)
        except OSError as fault:
            why = f"cannot be unpacked to {folder}: {fault.strerror or fault}"
            remedy = "make room there, or unpack it elsewhere and give that folder"
            raise Finding(str(path), "error", why, remedy).as_error() from fault
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    elif folder.stat().st_mtime < path.stat().st_mtime:
        why = f"has changed since it was unpacked to {folder}"
        raise Finding(str(path), "error", why, "remove that folder to unpack it again").as_error()
    inside = [entry for entry in folder.iterdir() if not entry.name.startswith((".", "__MACOSX"))]
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def unpack(path: Path, into: Path, limits: Limits) -> None:
    """Write every file of an archive below a folder that is empty and stays so if the archive is refused at once.

    Raises:
        DataError, DamagedFile: as `unpacked`; what was written until then is left to the caller to remove.
    """
    most = int(max(limits.always, limits.ratio * path.stat().st_size))
    written = 0
    try:
        for count, (name, stream) in enumerate(_members(path), start=1):
            if count > limits.entries:
                raise _refused(path, f"has more than {limits.entries:,} entries")
            target = into / _inside(path, name)
            if stream is None:
                target.mkdir(parents=True, exist_ok=True)
                continue
            if target.exists():
                raise _refused(path, f"holds {name!r} twice")
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as out:
                while piece := stream.read(PIECE):
                    written += len(piece)
                    if written > most:
                        raise _refused(path, f"({path.stat().st_size:,} bytes) unpacks to more than {most:,} bytes")
                    out.write(piece)
    except DataError:
        raise
    except (*_BROKEN, OSError) as fault:
        if isinstance(fault, OSError) and fault.errno in _DISK:
            raise
        found = f"cannot be unpacked ({fault})"
        raise Finding(str(path), "error", found, "download or copy it again from its source").as_error(
            DamagedFile
        ) from fault


def _members(path: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Name and stream of every entry; no stream for a folder."""
    if not path.name.lower().endswith(".zip"):
        for member, stream in members_of_tar(path):
            if not (member.isreg() or member.isdir()) or member.issparse():
                raise _refused(path, f"holds {member.name!r}, which is a link, a device or has holes")
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


def _inside(path: Path, name: str) -> PurePosixPath:
    """A relative path that leads nowhere but down."""
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or "\\" in name or ":" in name or not name.isprintable():
        raise _refused(path, f"holds {name!r}, which leads out of the folder it is unpacked to")
    return parts


def _refused(path: Path, finding: str) -> DataError:
    return Finding(str(path), "error", finding, "ask its author for a plain archive").as_error()
