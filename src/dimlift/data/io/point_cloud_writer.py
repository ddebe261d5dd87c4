"""Write point clouds with colours (PLY) or labels (PLY, NPZ)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dimlift.errors import DataError
from dimlift.records.atomic_write import atomic_write

POINT_LABEL_SUFFIXES = (".ply", ".npz")
"""Suffixes of files that can hold labels of points."""


def write_ply(path: Path, points: NDArray[np.float64], colours: NDArray[np.float32]) -> None:
    """Write coordinates (N, 3) and colours (N, 3) from 0 to 1 as binary little-endian PLY."""
    layout = [(name, "<f4") for name in "xyz"] + [(name, "u1") for name in ("red", "green", "blue")]
    rows = np.empty(len(points), dtype=layout)
    for index, name in enumerate("xyz"):
        rows[name] = points[:, index]
    for index, name in enumerate(("red", "green", "blue")):
        rows[name] = np.round(np.clip(colours[:, index], 0, 1) * 255)
    properties = [f"property float {name}" for name in "xyz"]
    properties += [f"property uchar {name}" for name in ("red", "green", "blue")]
    with atomic_write(path) as scratch:
        scratch.write_bytes(_ply_header(len(points), properties) + rows.tobytes())


def write_point_labels(path: Path, points: NDArray[np.float64], labels: NDArray[np.int32]) -> Path:
    """Write coordinates (N, 3) and labels (N,) as .ply (property `label`) or .npz (array `labels`).

    Coordinates keep double precision, because surveys have coordinates of millions of metres.

    Raises:
        DataError: for another suffix.
    """
    if path.suffix not in POINT_LABEL_SUFFIXES:
        raise DataError(f"{path}: the suffix must be {' or '.join(POINT_LABEL_SUFFIXES)}; choose such a name")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as scratch:
        if path.suffix == ".npz":
            with scratch.open("wb") as stream:
                np.savez_compressed(stream, points=points, labels=labels)
        else:
            rows = np.empty(len(points), dtype=[("x", "<f8"), ("y", "<f8"), ("z", "<f8"), ("label", "<i4")])
            rows["x"], rows["y"], rows["z"] = points.T
            rows["label"] = labels
            properties = [*(f"property double {name}" for name in "xyz"), "property int label"]
            scratch.write_bytes(_ply_header(len(points), properties) + rows.tobytes())
    return path


def _ply_header(count: int, properties: Sequence[str]) -> bytes:
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {count}", *properties, "end_header", ""]
    return "\n".join(lines).encode()
