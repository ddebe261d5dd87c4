"""Files that are looked at before any of them is used, and read only once if memory allows."""

from pathlib import Path

from dimlift.data.formats import read_file
from dimlift.data.volume import Volume

ROOM = 64 * 2**20
"""Bytes of voxels that may wait while others are used."""


class ReadOnce:
    """Reads volumes to look at them, and keeps them until they are taken.

    Args:
        room: bytes of voxels it may keep; a file beyond them is read again when it is taken.
    """

    def __init__(self, room: float = ROOM) -> None:
        self._room = room
        self._kept: dict[Path, Volume] = {}

    def look(self, path: Path) -> Volume:
        """Read a file and keep it, if there is room.

        Raises:
            DataError: what its reader raises.
        """
        volume = read_file(path)
        if volume.array.nbytes <= self._room:
            self._room -= volume.array.nbytes
            self._kept[path] = volume
        return volume

    def take(self, path: Path) -> Volume:
        """A file that was looked at; it is kept no longer.

        Raises:
            DataError: what its reader raises.
        """
        volume = self._kept.pop(path, None)
        return read_file(path) if volume is None else volume
