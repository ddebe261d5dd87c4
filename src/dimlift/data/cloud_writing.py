"""Coloured points as a PLY file, which every viewer opens."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dimlift.records.whole import written_whole


def write_ply(path: Path, points: NDArray[np.float64], colours: NDArray[np.float32]) -> None:
    """Write (N, 3) coordinates and (N, 3) colours from 0 to 1; binary, little endian."""
    layout = [(name, "<f4") for name in "xyz"] + [(name, "u1") for name in ("red", "green", "blue")]
    rows = np.empty(len(points), dtype=layout)
    for index, name in enumerate("xyz"):
        rows[name] = points[:, index]
    for index, name in enumerate(("red", "green", "blue")):
        rows[name] = np.round(np.clip(colours[:, index], 0, 1) * 255)
    kinds = [f"property float {name}" for name in "xyz"] + [f"property uchar {n}" for n in ("red", "green", "blue")]
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}", *kinds, "end_header", ""]
    with written_whole(path) as scratch:
        scratch.write_bytes("\n".join(head).encode() + rows.tobytes())
