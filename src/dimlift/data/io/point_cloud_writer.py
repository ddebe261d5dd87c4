"""Coloured or labelled points as files: PLY, which every viewer opens, or NumPy's."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dimlift.errors import DataError
from dimlift.records.atomic_write import written_whole

LABELLED = (".ply", ".npz")
"""Files that labels of points are written to."""


def write_ply(path: Path, points: NDArray[np.float64], colours: NDArray[np.float32]) -> None:
    """Write (N, 3) coordinates and (N, 3) colours from 0 to 1; binary, little endian."""
    layout = [(name, "<f4") for name in "xyz"] + [(name, "u1") for name in ("red", "green", "blue")]
    rows = np.empty(len(points), dtype=layout)
    for index, name in enumerate("xyz"):
        rows[name] = points[:, index]
    for index, name in enumerate(("red", "green", "blue")):
        rows[name] = np.round(np.clip(colours[:, index], 0, 1) * 255)
    kinds = [f"property float {name}" for name in "xyz"] + [f"property uchar {n}" for n in ("red", "green", "blue")]
    with written_whole(path) as scratch:
        scratch.write_bytes(_head(len(points), kinds) + rows.tobytes())


def write_labelled(path: Path, points: NDArray[np.float64], labels: NDArray[np.int32]) -> Path:
    """Write (N, 3) coordinates and the label of each, in their order: .ply (property `label`) or .npz (`labels`).

    Coordinates keep double precision: surveys lie millions of metres from their origin.

    Raises:
        DataError: for another kind of file.
    """
    if path.suffix not in LABELLED:
        raise DataError(f"{path} cannot be written: labels of points go into {' or '.join(LABELLED)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as scratch:
        if path.suffix == ".npz":
            with scratch.open("wb") as stream:
                np.savez_compressed(stream, points=points, labels=labels)
        else:
            rows = np.empty(len(points), dtype=[("x", "<f8"), ("y", "<f8"), ("z", "<f8"), ("label", "<i4")])
            rows["x"], rows["y"], rows["z"] = points.T
            rows["label"] = labels
            kinds = [*(f"property double {name}" for name in "xyz"), "property int label"]
            scratch.write_bytes(_head(len(points), kinds) + rows.tobytes())
    return path


def _head(count: int, kinds: Sequence[str]) -> bytes:
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {count}", *kinds, "end_header", ""]
    return "\n".join(lines).encode()
