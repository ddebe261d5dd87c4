"""Files that are looked at before any of them is used, and read only once if memory allows."""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

Content = TypeVar("Content")

ROOM = 64 * 2**20
"""Bytes that may wait while others are used."""


class ReadOnce(Generic[Content]):
    """Reads files to look at them, and keeps what was in them until it is taken.

    Args:
        read: a file's content.
        size: bytes it takes.
        room: bytes it may keep; a file beyond them is read again when it is taken.
    """

    def __init__(self, read: Callable[[Path], Content], size: Callable[[Content], int], room: float = ROOM) -> None:
        self._read, self._size, self._room = read, size, room
        self._kept: dict[Path, Content] = {}

    def look(self, path: Path) -> Content:
        """Read a file and keep it, if there is room. Raises what its reader raises."""
        content = self._read(path)
        if (size := self._size(content)) <= self._room:
            self._room -= size
            self._kept[path] = content
        return content

    def take(self, path: Path) -> Content:
        """A file that was looked at; it is kept no longer. Raises what its reader raises."""
        content = self._kept.pop(path, None)
        return self._read(path) if content is None else content
