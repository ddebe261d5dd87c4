"""Point clouds of PCL: ASCII and binary PCD, with padding and with colours packed into one number."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimlift.data.io.point_cloud_columns import UNUSED_COLUMN, PointCloud, named_columns
from dimlift.errors import CorruptFileError, DataError

_KINDS = {"F": "f", "U": "u", "I": "i"}
_PACKED = ("rgb", "rgba")
_PADDING = "_ "


def read_pcd(path: Path) -> PointCloud:
    """Read the points of a PCD file.

    Raises:
        CorruptFileError: if the header or points are missing.
        DataError: if it is compressed, or as `named_columns`.
    """
    with path.open("rb") as stream:
        header: dict[str, list[str]] = {}
        for line in iter(stream.readline, b""):
            words = line.decode("ascii").split()
            if words and not words[0].startswith("#"):
                header[words[0].upper()] = words[1:]
            if words[:1] == ["DATA"]:
                break
        else:
            raise CorruptFileError(f"{path} has no DATA line; copy or export it again")
        body = stream.read()
    kind = header["DATA"][0]
    layout = _layout(header, text=kind == "ascii")
    total, size = int(header["POINTS"][0]), path.stat().st_size
    if not 0 <= total <= 8 * size:
        raise CorruptFileError(f"{path} states {total} points in {size} bytes; copy or export it again")
    if kind == "ascii":
        rows = np.atleast_1d(np.loadtxt(body.decode("ascii").splitlines(), dtype=layout))
    elif kind == "binary":
        rows = np.frombuffer(body[: total * layout.itemsize], dtype=layout)
    else:
        raise DataError(f"{path} is a {kind} PCD; save it as ascii or binary")
    if len(rows) < total:
        raise CorruptFileError(f"{path} states {total} points and holds {len(rows)}; copy it again")
    columns = {name: rows[name] for name in layout.names or () if not name.startswith(_PADDING)}
    packed = next((name for name in _PACKED if name in columns), None)
    if packed is not None and "red" not in columns:
        columns |= unpack_colours(columns.pop(packed), path)
    return named_columns(columns, path)


def unpack_colours(column: NDArray[Any], path: Path) -> dict[str, NDArray[np.uint8]]:
    """Return the bytes 0xAARRGGBB of each number: a 32-bit integer, the bits of a float, or either as text (float64).

    Raises:
        DataError: if the colours of a text file were lost because their bits are not a number.
    """
    if column.dtype == np.float64:
        if not np.isfinite(column).all():
            raise DataError(f"{path} has colours that are NaN in its text; save it as binary, or remove the field rgb")
        whole = column.max(initial=0) >= 1 and np.array_equal(column, np.rint(column))
        column = column.astype(np.uint32) if whole else column.astype(np.float32)
    if column.ndim != 1 or column.dtype.itemsize != 4:
        raise DataError(f"{path} has a field rgb of {column.shape} {column.dtype}; 32 bits per point are expected")
    bits = np.ascontiguousarray(column).view(np.dtype(np.uint32).newbyteorder(column.dtype.byteorder))
    shifts = {"red": 16, "green": 8, "blue": 0}
    return {name: (bits >> shift & 255).astype(np.uint8) for name, shift in shifts.items()}


def _layout(header: dict[str, list[str]], text: bool) -> np.dtype[Any]:
    """Return the type of a row; padding gets different names, and packed colours in text are read as numbers."""
    counts = [int(count) for count in header.get("COUNT", ["1"] * len(header["FIELDS"]))]
    fields = []
    for n, (name, kind, size, count) in enumerate(
        zip(header["FIELDS"], header["TYPE"], header["SIZE"], counts, strict=True)
    ):
        number = "<f8" if text and name in _PACKED and kind == "F" else f"<{_KINDS[kind]}{size}"
        fields.append((f"{_PADDING}{n}" if name == UNUSED_COLUMN else name, number, (count,) if count > 1 else ()))
    return np.dtype(fields)
