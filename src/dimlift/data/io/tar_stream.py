"""The members of a tar file, read from front to back in small pieces.

`tarfile` believes a header that states a name of a gigabyte and reads it into memory at once; here no single read may
ask for more than a header can need.
"""

import bz2
import gzip
import lzma
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

PIECE = 1 << 20
"""Bytes of the largest single read: many times the longest path."""


class _Forward:
    """A stream `tarfile` may read and skip in, never backwards, never much at once."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._place = stream, 0

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, fewer only at the end."""
        if not 0 <= size <= PIECE:
            raise tarfile.ReadError(f"a header states {size:,} bytes")
        parts = self._stream.read(size)
        self._place += len(parts)
        return parts

    def tell(self) -> int:
        """Bytes read so far."""
        return self._place

    def seek(self, place: int) -> None:
        """Skip forwards."""
        if place < self._place:
            raise tarfile.ReadError("its entries overlap")
        while self._place < place:
            if not self.read(min(PIECE, place - self._place)):
                raise tarfile.ReadError("unexpected end of data")


def members_of_tar(path: Path) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """Every member with its bytes, to be read before the next one is asked for; None for what is no plain file.

    Raises:
        tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError: if the file is cut off or broken.
    """
    with _unpacking(path) as stream, tarfile.open(fileobj=cast(IO[bytes], _Forward(stream)), mode="r:") as archive:
        for member in archive:
            plain = member.isreg() and not member.issparse()
            yield member, archive.extractfile(member) if plain else None
            archive.members = []  # type: ignore[attr-defined]  # what has been handed out need not be kept


def _unpacking(path: Path) -> IO[bytes]:
    """The tar stream itself, by how the file begins."""
    with path.open("rb") as stream:
        start = stream.read(6)
    if start.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(path))
    if start.startswith(b"BZh"):
        return cast(IO[bytes], bz2.open(path))
    if start.startswith(b"\xfd7zXZ\x00"):
        return cast(IO[bytes], lzma.open(path))
    return path.open("rb")
