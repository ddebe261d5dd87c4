"""NRRD files, read and written in Python. https://teem.sourceforge.net/nrrd/format.html

No C library sees a header that others wrote: those parse it differently, crash on long values, and open files it names.
"""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimlift.data.io.nrrd_header import read_nrrd_header
from dimlift.data.io.stored_volume import LPS_TO_RAS, grid_of, read_stored_volume
from dimlift.data.volume import Grid, Volume
from dimlift.records.atomic_write import atomic_write

TYPE_NAMES = {
    "i1": "signed char", "u1": "unsigned char", "i2": "short", "u2": "unsigned short", "i4": "int",
    "u4": "unsigned int", "i8": "long long int", "u8": "unsigned long long int", "f4": "float", "f8": "double",
}  # fmt: skip
"""NRRD's names of voxel types by kind and width."""


def read_nrrd_volume(path: str | Path) -> Volume:
    """Read a `.nrrd` or `.nhdr` file; a vector axis becomes the last one.

    Raises:
        CorruptFileError: if the file is truncated, has a wrong checksum, or is of another format.
        DataError: if the volume does not have three spatial axes, is complex, or is sheared.
    """
    path = Path(path)
    return read_stored_volume(path, read_nrrd_header(path))


def read_nrrd_grid(path: str | Path) -> Grid:
    """Read shape and affine of a file from its header alone."""
    path = Path(path)
    return grid_of(path, read_nrrd_header(path))


def write_nrrd_volume(path: str | Path, array: NDArray[Any], affine: NDArray[np.float64]) -> Path:
    """Write voxels as they are, compressed with gzip and atomically.

    Args:
        path: where to write.
        array: (i, j, k) on the axes of the affine, of a type in `TYPE_NAMES`.
        affine: (4, 4) to millimetres (right, anterior, superior).
    """
    path = Path(path)
    lps = LPS_TO_RAS @ affine
    little = array.dtype.newbyteorder("<")
    fields = {
        "type": TYPE_NAMES[little.str[1:]],
        "dimension": "3",
        "space": "left-posterior-superior",
        "sizes": " ".join(str(size) for size in array.shape),
        "space directions": " ".join(_vector(lps[:3, axis]) for axis in range(3)),
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": "gzip",
        "space origin": _vector(lps[:3, 3]),
    }
    header = "".join([f"{name}: {value}\n" for name, value in fields.items()])
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as scratch, scratch.open("wb") as stream:
        stream.write(f"NRRD0004\n{header}\n".encode("ascii"))
        packer = zlib.compressobj(6, wbits=31)
        for index in range(array.shape[2]):
            stream.write(packer.compress(array[:, :, index].astype(little).tobytes(order="F")))
        stream.write(packer.flush())
    return path


def _vector(numbers: NDArray[np.float64]) -> str:
    return f"({','.join(repr(float(number)) for number in numbers)})"
