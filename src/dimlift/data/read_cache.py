"""Bounded cache between validation and use, so that each file is read once."""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

Content = TypeVar("Content")

CACHE_BYTES = 64 * 2**20
"""Default capacity in bytes."""


class ReadCache(Generic[Content]):
    """Reads files and keeps their content until it is popped.

    Args:
        read: returns the content of a file.
        size: returns the number of bytes of a content.
        capacity: bytes to keep. Content beyond the capacity is read again when it is popped.
    """

    def __init__(
        self, read: Callable[[Path], Content], size: Callable[[Content], int], capacity: float = CACHE_BYTES
    ) -> None:
        self._read, self._size, self._free = read, size, capacity
        self._cached: dict[Path, Content] = {}

    def peek(self, path: Path) -> Content:
        """Read a file and keep its content if there is room."""
        content = self._read(path)
        if (size := self._size(content)) <= self._free:
            self._free -= size
            self._cached[path] = content
        return content

    def pop(self, path: Path) -> Content:
        """Return the content of a file and drop it from the cache; read the file if it is not cached."""
        content = self._cached.pop(path, None)
        return self._read(path) if content is None else content
