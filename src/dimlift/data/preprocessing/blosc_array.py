"""Arrays on disk in compressed blocks, of which only those that a box touches are read.

A packed array is one file of blosc2 blocks, one behind the other, and what is known of it as plain JSON: shape, type,
where each block begins, and its checksum. The file is mapped into memory, so the page cache of the system decides what
stays; workers and runs on one machine share it. Blocks hold numbers and nothing that could be executed.
"""

import mmap
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Num
from numpy.typing import NDArray
from torch import Tensor

from dimlift.errors import DamagedFile, DataError
from dimlift.records.atomic_write import written_whole

SIDE = 32
"""Voxels along each edge of a block: a patch of 128 touches few more than it needs, a block is read in one piece."""
LEVEL = 3
DTYPES = ("float32", "int16")


@dataclass(frozen=True)
class PackedArray:
    """A (channels, D, H, W) array that is read box by box: `array[:, 3:9, :, 10:20]` is a tensor.

    Attributes:
        path: file of the blocks.
        dtype: "float32" or "int16".
        offsets: where each block begins in the file, and where the last one ends.
        checksums: CRC-32 of each block as it lies in the file.
    """

    path: Path
    shape: tuple[int, int, int, int]
    dtype: str
    offsets: tuple[int, ...]
    checksums: tuple[int, ...]

    def __getitem__(self, box: tuple[slice, slice, slice, slice]) -> Num[Tensor, "channels d h w"]:
        """The voxels of a box of all its channels, in memory of their own.

        Raises:
            DamagedFile: if a block is not what was written.
        """
        parts = [range(count)[part] for part, count in zip(box[1:], self.shape[1:], strict=True)]
        found = np.empty((self.shape[0], *map(len, parts)), self.dtype)
        touched = [range(part.start // SIDE, -(-part.stop // SIDE)) if len(part) else range(0) for part in parts]
        for place in product(*touched):
            into, out_of = [], []
            for index, part, count in zip(place, parts, self.shape[1:], strict=True):
                low, high = max(part.start, index * SIDE), min(part.stop, (index + 1) * SIDE, count)
                into.append(slice(low - part.start, high - part.start))
                out_of.append(slice(low - index * SIDE, high - index * SIDE))
            found[:, into[0], into[1], into[2]] = self._block(place)[:, out_of[0], out_of[1], out_of[2]]
        return torch.from_numpy(found[box[0]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole = self[:, 0 : self.shape[1], 0 : self.shape[2], 0 : self.shape[3]].numpy()
        return whole if dtype is None else whole.astype(dtype)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON, without the path."""
        return {name: value for name, value in asdict(self).items() if name != "path"}

    @classmethod
    def from_json(cls, path: Path, content: dict[str, Any]) -> "PackedArray":
        """Read back what `to_json` gave, and compare it with the file.

        Raises:
            DamagedFile: if the file is not as long as it was.
        """
        shape, dtype = tuple(content["shape"]), content["dtype"]
        found = cls(path, shape, dtype, tuple(content["offsets"]), tuple(content["checksums"]))
        blocks = len(list(_places(found.shape)))
        sound = dtype in DTYPES and len(found.offsets) == blocks + 1 and len(found.checksums) == blocks
        if not sound or not path.is_file() or path.stat().st_size != found.offsets[-1]:
            raise DamagedFile(f"{path} is not what was packed there; delete its folder, it is made anew")
        return found

    def _block(self, place: tuple[int, ...]) -> NDArray[Any]:
        counts = [-(-size // SIDE) for size in self.shape[1:]]
        number = (place[0] * counts[1] + place[1]) * counts[2] + place[2]
        stored = self._mapped[self.offsets[number] : self.offsets[number + 1]]
        if zlib.crc32(stored) != self.checksums[number]:
            raise DamagedFile(f"block {number} of {self.path} is damaged; delete its folder, it is made anew")
        sizes = [min(SIDE, size - index * SIDE) for index, size in zip(place, self.shape[1:], strict=True)]
        block = np.empty((self.shape[0], *sizes), self.dtype)
        _codec().decompress2(stored, dst=block)
        return block

    @cached_property
    def _mapped(self) -> memoryview:
        with self.path.open("rb") as stream:
            return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_mapped"}


def pack(array: NDArray[Any], path: Path) -> PackedArray:
    """Write an array in compressed blocks, whole or not at all.

    Args:
        array: (channels, D, H, W), float32 or int16.
    """
    if array.ndim != 4 or str(array.dtype) not in DTYPES:
        raise DataError(
            f"an array of {array.shape} {array.dtype}; (channels, D, H, W) of {' or '.join(DTYPES)} is packed"
        )
    codec, offsets, checksums = _codec(), [0], []
    with written_whole(path) as scratch, scratch.open("wb") as stream:
        for box in _places(array.shape):
            block = np.ascontiguousarray(array[(slice(None), *box)])
            stored = codec.compress2(
                block, codec=codec.Codec.ZSTD, clevel=LEVEL, typesize=block.itemsize, nthreads=1,
                filters=[codec.Filter.SHUFFLE],
            )  # fmt: skip
            stream.write(stored)
            offsets.append(offsets[-1] + len(stored))
            checksums.append(zlib.crc32(stored))
    shape: tuple[int, int, int, int] = tuple(array.shape)
    return PackedArray(path, shape, str(array.dtype), tuple(offsets), tuple(checksums))


def _places(shape: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """The blocks of an array, the last axis fastest."""
    starts = [range(0, size, SIDE) for size in shape[1:]]
    for place in product(*starts):
        yield tuple(slice(first, first + SIDE) for first in place)


def _codec() -> Any:
    try:
        import blosc2
    except ModuleNotFoundError as fault:
        raise DataError(
            "packed volumes need blosc2: pip install 'dimlift[packed]', or leave training.packed out"
        ) from fault
    return blosc2
