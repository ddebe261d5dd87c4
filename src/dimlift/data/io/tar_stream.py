"""Members of a tar file, read sequentially in small pieces.

`tarfile` reads a name of a gigabyte into memory if a header states one; here no single read is larger than a header can
need.
"""

import bz2
import gzip
import lzma
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

MAX_READ_BYTES = 1 << 20
"""Largest single read, many times the longest path."""


class _ForwardStream:
    """A stream that `tarfile` can read and skip in, but not rewind, with an upper bound on every read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._position = stream, 0

    def read(self, size: int) -> bytes:
        """Read exactly `size` bytes, fewer only at the end."""
        if not 0 <= size <= MAX_READ_BYTES:
            raise tarfile.ReadError(f"a header states {size:,} bytes")
        data = self._stream.read(size)
        self._position += len(data)
        return data

    def tell(self) -> int:
        """Return the number of bytes read so far."""
        return self._position

    def seek(self, position: int) -> None:
        """Skip forward."""
        if position < self._position:
            raise tarfile.ReadError("its entries overlap")
        while self._position < position:
            if not self.read(min(MAX_READ_BYTES, position - self._position)):
                raise tarfile.ReadError("unexpected end of data")


def iterate_tar(path: Path) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """Yield every member with its stream, which must be read before the next member; None unless it is a plain file.

    Raises:
        tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError: if the file is truncated or corrupt.
    """
    with _decompress(path) as stream, tarfile.open(fileobj=cast(IO[bytes], _ForwardStream(stream)), mode="r:") as tar:
        for member in tar:
            plain = member.isreg() and not member.issparse()
            yield member, tar.extractfile(member) if plain else None
            tar.members = []  # type: ignore[attr-defined]  # frees the members that were yielded


def _decompress(path: Path) -> IO[bytes]:
    """Open the tar stream; the first bytes determine the compression."""
    with path.open("rb") as stream:
        start = stream.read(6)
    if start.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(path))
    if start.startswith(b"BZh"):
        return cast(IO[bytes], bz2.open(path))
    if start.startswith(b"\xfd7zXZ\x00"):
        return cast(IO[bytes], lzma.open(path))
    return path.open("rb")
