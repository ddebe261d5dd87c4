"""Video files as volumes: frames are slices, colours are channels.

Frame distance and pixel size count as one millimetre each: `preprocessing.spacing: [4, 2, 2]` keeps every fourth frame
at half the resolution. `video_decoder` decodes them in a process of its own.
"""

from pathlib import Path

import numpy as np

from dimlift.data.io.decoder_process import decode_in_process
from dimlift.data.io.regular_file import require_regular_file
from dimlift.data.volume import Grid, Volume

SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")
MAX_VALUES = 1 << 31
"""Largest number of values (columns x rows x frames x 3) read from one video."""


def read_video_volume(path: str | Path) -> Volume:
    """Read all frames as (columns, rows, frames, 3), with values from 0 to 255.

    Raises:
        CorruptFileError: if the video cannot be decoded to its end, or its decoder crashes.
        DataError: if there is no video stream, the frame size changes, the video is too large, or PyAV is not
            installed.
    """
    path = Path(path)
    require_regular_file(path)
    frames = decode_in_process("video frames", path, max_values=MAX_VALUES)
    return Volume(np.stack(frames, axis=2), np.eye(4), path)


def read_video_grid(path: str | Path) -> Grid:
    """Read shape and affine; if the file does not state its number of frames, packets are counted."""
    path = Path(path)
    require_regular_file(path)
    ((columns, rows, count),) = decode_in_process("video size", path)
    return Grid((columns, rows, count, 3), np.eye(4), voxel_bytes=3, path=path)
