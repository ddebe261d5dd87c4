"""Short videos made with PyAV, not with the code under test."""

from pathlib import Path

import numpy as np


def write_video(path: Path, frames: int = 12, size: tuple[int, int] = (32, 48)) -> Path:
    """Grey frames that grow brighter, the right half red at the end."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            picture = np.full((*size, 3), 40 + 200 * number // frames, np.uint8)
            picture[:, size[1] // 2 :, 0] = 250
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path
