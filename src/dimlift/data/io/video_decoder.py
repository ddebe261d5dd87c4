"""Decoding of videos with PyAV, which is imported only here. Runs in the decoder process.

FFmpeg is given an open file and the format its first bytes show, and no protocol to open anything else with: playlists
and references to other files are not followed.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dimlift.data.issue import Issue
from dimlift.errors import CorruptFileError, DataError

MIN_FRAME_FRACTION = 0.9
"""A file that does not count its frames is complete if it has this fraction of the frames its duration implies."""

_COPY_AGAIN = "copy it again, or remove it"
_MP4_ATOMS = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
_PROGRESS_PACKETS = 1000


def decode_frames(path: Path, max_values: int) -> Iterator[Any]:
    """Yield every frame as (columns, rows, 3), uint8.

    Raises:
        CorruptFileError: if the video cannot be decoded to its end.
        DataError: if the frame size changes, or there are more than `max_values` values.
    """
    with _open_stream(path) as (container, stream):
        _require_size(path, stream, 1, max_values)
        count, first = 0, None
        for frame in container.decode(stream):
            array = frame.to_ndarray(format="rgb24").transpose(1, 0, 2)
            first = array.shape if first is None else first
            count += 1
            if array.shape != first:
                message = f"changes its size at frame {count}, from {first[:2]} to {array.shape[:2]}"
                raise Issue(str(path), "error", message, "convert it to one size").as_error()
            _require_size(path, stream, count, max_values)
            yield array
        expected = stream.frames or int(MIN_FRAME_FRACTION * _frames_by_duration(container, stream))
        if not count or count < expected:
            message = f"cannot be decoded to its end: {count} of about {max(expected, 1)} frames"
            raise Issue(str(path), "error", message, _COPY_AGAIN).as_error(CorruptFileError)


def decode_size(path: Path) -> Iterator[Any]:
    """Yield [columns, rows, frames]; if the file does not state its number of frames, packets are counted."""
    with _open_stream(path) as (container, stream):
        count = stream.frames
        if not count:
            for number, packet in enumerate(container.demux(stream)):
                count += packet.size > 0
                if number % _PROGRESS_PACKETS == 0:
                    yield None
        yield [stream.width, stream.height, count]


def sniff_container(start: bytes) -> str | None:
    """Return FFmpeg's name of the container that begins with these bytes, or None if it is not one of three."""
    if start[4:8] in _MP4_ATOMS:
        return "mp4"
    if start.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if start.startswith(b"RIFF") and start[8:12] == b"AVI ":
        return "avi"
    return None


def _frames_by_duration(container: Any, stream: Any) -> float:
    """Return the number of frames implied by duration and frame rate, 0 if the file does not state them."""
    return float(container.duration / 1e6 * stream.average_rate) if container.duration and stream.average_rate else 0.0


def _require_size(path: Path, stream: Any, frames: int, max_values: int) -> None:
    if 3 * stream.width * stream.height * max(frames, stream.frames) > max_values:
        message = f"has {stream.width} x {stream.height} pixels and at least {max(frames, stream.frames)} frames"
        fix = "cut it, or scale it down (ffmpeg -i IN -vf scale=320:-2,fps=10 OUT)"
        raise Issue(str(path), "error", message, fix).as_error()


@contextlib.contextmanager
def _open_stream(path: Path) -> Iterator[tuple[Any, Any]]:
    try:
        import av
    except ImportError as fault:
        raise DataError("video files need the video extra: pip install 'dimlift[video]'") from fault
    options = {"protocol_whitelist": "none", "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"}
    with path.open("rb") as file:
        name = sniff_container(file.read(12))
        file.seek(0)
        if name is None:
            message = "cannot be decoded: its first bytes are those of no MP4, Matroska, WebM or AVI file"
            raise Issue(str(path), "error", message, _COPY_AGAIN).as_error(CorruptFileError)
        try:
            with av.open(file, format=name, options=options) as container:
                if not container.streams.video:
                    message = "cannot be decoded: no video stream, or truncated"
                    raise Issue(str(path), "error", message, _COPY_AGAIN).as_error(CorruptFileError)
                yield container, container.streams.video[0]
        except (av.FFmpegError, ValueError) as fault:
            if isinstance(fault, DataError):
                raise
            message = f"cannot be decoded ({fault.strerror if isinstance(fault, OSError) else fault})"
            fix = "copy it again, or convert it (ffmpeg -i IN -c:v libx264 OUT.mp4)"
            raise Issue(str(path), "error", message, fix).as_error(CorruptFileError) from fault
