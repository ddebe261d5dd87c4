"""Video files through PyAV, which is imported here and nowhere else: frames are slices, colours are channels.

A frame counts as one millimetre, and so does a pixel: `preprocessing.spacing: [4, 2, 2]` takes every fourth frame at
half its size.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dimlift.data.issue import Finding
from dimlift.data.volume import Grid, Volume
from dimlift.errors import DamagedFile, DataError

SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")
LARGEST = 1 << 31
"""Numbers (columns x rows x frames x 3) that are read of one video."""
SHORTEST = 0.9
"""Share of the frames its duration promises that a whole video has, where it does not count them itself."""


def read_volume(path: str | Path) -> Volume:
    """All frames, as (columns, rows, frames, 3), values from 0 to 255.

    Raises:
        DamagedFile: if it cannot be decoded to its end.
        DataError: if it has no picture in it, changes its size, is too large, or PyAV is not here.
    """
    path = Path(path)
    with _opened(path) as (container, stream):
        _require_room(path, stream, 1)
        frames = []
        for frame in container.decode(stream):
            frames.append(frame.to_ndarray(format="rgb24").transpose(1, 0, 2))
            if frames[-1].shape != frames[0].shape:
                found = f"changes its size at frame {len(frames)}, from {frames[0].shape[:2]} to {frames[-1].shape[:2]}"
                raise Finding(str(path), "error", found, "convert it to one size").as_error()
            _require_room(path, stream, len(frames))
        promised = stream.frames or int(SHORTEST * _expected(container, stream))
        if not frames or len(frames) < promised:
            found = f"cannot be decoded to its end: {len(frames)} frames of about {max(promised, 1)}"
            raise Finding(str(path), "error", found, "copy it again, or take it out").as_error(DamagedFile)
    return Volume(np.stack(frames, axis=2), np.eye(4), path)


def read_grid(path: str | Path) -> Grid:
    """Shape and affine; where the file does not say how many frames it has, its packets are counted."""
    path = Path(path)
    with _opened(path) as (container, stream):
        count = stream.frames or sum(packet.size > 0 for packet in container.demux(stream))
        return Grid((stream.width, stream.height, count, 3), np.eye(4), voxel_bytes=3, path=path)


def _expected(container: Any, stream: Any) -> float:
    """Frames by duration and rate, 0 where the file does not say."""
    return float(container.duration / 1e6 * stream.average_rate) if container.duration and stream.average_rate else 0.0


def _require_room(path: Path, stream: Any, frames: int) -> None:
    wanted = 3 * stream.width * stream.height * max(frames, stream.frames)
    if wanted > LARGEST:
        found = f"has {stream.width} x {stream.height} pixels and {max(frames, stream.frames)} frames or more"
        remedy = "cut it, or make it smaller first (ffmpeg -i IN -vf scale=320:-2,fps=10 OUT)"
        raise Finding(str(path), "error", found, remedy).as_error()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    try:
        import av
    except ImportError as fault:
        raise DataError("video files need the video extra: pip install 'dimlift[video]'") from fault
    if not path.is_file():
        raise Finding(str(path), "error", "there is no such file", "restore it, or take its case out").as_error()
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                found, remedy = "cannot be decoded: it holds no picture, or is cut off", "copy it again, or take it out"
                raise Finding(str(path), "error", found, remedy).as_error(DamagedFile)
            yield container, container.streams.video[0]
    except (av.FFmpegError, ValueError) as fault:
        if isinstance(fault, DataError):
            raise
        found = f"cannot be decoded ({fault.strerror if isinstance(fault, OSError) else fault})"
        remedy = "copy it again, or convert it (ffmpeg -i IN -c:v libx264 OUT.mp4)"
        raise Finding(str(path), "error", found, remedy).as_error(DamagedFile) from fault
