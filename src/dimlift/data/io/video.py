"""Video files through PyAV, which is imported only here: frames are slices, colours are channels.

Frame distance and pixel size count as one millimetre each: `preprocessing.spacing: [4, 2, 2]` keeps every fourth frame
at half the resolution.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dimlift.data.issue import Issue
from dimlift.data.volume import Grid, Volume
from dimlift.errors import CorruptFileError, DataError

SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")
MAX_VALUES = 1 << 31
"""Largest number of values (columns x rows x frames x 3) read from one video."""
MIN_FRAME_FRACTION = 0.9
"""A file that does not count its frames is complete if it has this fraction of the frames its duration implies."""


def read_video_volume(path: str | Path) -> Volume:
    """Read all frames as (columns, rows, frames, 3), with values from 0 to 255.

    Raises:
        CorruptFileError: if the video cannot be decoded to its end.
        DataError: if there is no video stream, the frame size changes, the video is too large, or PyAV is not
            installed.
    """
    path = Path(path)
    with _open_stream(path) as (container, stream):
        _require_size(path, stream, 1)
        frames = []
        for frame in container.decode(stream):
            frames.append(frame.to_ndarray(format="rgb24").transpose(1, 0, 2))
            if frames[-1].shape != frames[0].shape:
                message = (
                    f"changes its size at frame {len(frames)}, from {frames[0].shape[:2]} to {frames[-1].shape[:2]}"
                )
                raise Issue(str(path), "error", message, "convert it to one size").as_error()
            _require_size(path, stream, len(frames))
        expected = stream.frames or int(MIN_FRAME_FRACTION * _frames_by_duration(container, stream))
        if not frames or len(frames) < expected:
            message = f"cannot be decoded to its end: {len(frames)} of about {max(expected, 1)} frames"
            raise Issue(str(path), "error", message, "copy it again, or remove it").as_error(CorruptFileError)
    return Volume(np.stack(frames, axis=2), np.eye(4), path)


def read_video_grid(path: str | Path) -> Grid:
    """Read shape and affine; if the file does not state its number of frames, packets are counted."""
    path = Path(path)
    with _open_stream(path) as (container, stream):
        count = stream.frames or sum(packet.size > 0 for packet in container.demux(stream))
        return Grid((stream.width, stream.height, count, 3), np.eye(4), voxel_bytes=3, path=path)


def _frames_by_duration(container: Any, stream: Any) -> float:
    """Return the number of frames implied by duration and frame rate, 0 if the file does not state them."""
    return float(container.duration / 1e6 * stream.average_rate) if container.duration and stream.average_rate else 0.0


def _require_size(path: Path, stream: Any, frames: int) -> None:
    values = 3 * stream.width * stream.height * max(frames, stream.frames)
    if values > MAX_VALUES:
        message = f"has {stream.width} x {stream.height} pixels and at least {max(frames, stream.frames)} frames"
        fix = "cut it, or scale it down (ffmpeg -i IN -vf scale=320:-2,fps=10 OUT)"
        raise Issue(str(path), "error", message, fix).as_error()


@contextlib.contextmanager
def _open_stream(path: Path) -> Iterator[tuple[Any, Any]]:
    try:
        import av
    except ImportError as fault:
        raise DataError("video files need the video extra: pip install 'dimlift[video]'") from fault
    if not path.is_file():
        raise Issue(str(path), "error", "does not exist", "restore it, or remove its case").as_error()
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                message, fix = "cannot be decoded: no video stream, or truncated", "copy it again, or remove it"
                raise Issue(str(path), "error", message, fix).as_error(CorruptFileError)
            yield container, container.streams.video[0]
    except (av.FFmpegError, ValueError) as fault:
        if isinstance(fault, DataError):
            raise
        message = f"cannot be decoded ({fault.strerror if isinstance(fault, OSError) else fault})"
        fix = "copy it again, or convert it (ffmpeg -i IN -c:v libx264 OUT.mp4)"
        raise Issue(str(path), "error", message, fix).as_error(CorruptFileError) from fault
