"""Arrays on disk in compressed blocks, of which only those that intersect a requested box are read.

The file holds blosc2 blocks one after the other. Shape, type, block offsets and digests are stored as JSON elsewhere.
The file is memory-mapped, so the page cache of the operating system is shared by all workers and runs on a machine.
Blocks hold numbers only, nothing that is executed.
"""

import hashlib
import mmap
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Num
from numpy.typing import NDArray
from torch import Tensor

from dimlift.errors import CorruptFileError, DataError
from dimlift.records.atomic_write import atomic_write

BLOCK_SIZE = 32
"""Voxels along each edge of a block: few voxels outside a patch of 128 are read, and each block in one read."""
COMPRESSION_LEVEL = 3
DTYPES = ("float32", "int16")


@dataclass(frozen=True)
class BloscArray:
    """A (channels, D, H, W) array on disk; `array[:, 3:9, :, 10:20]` reads a box as a tensor.

    Attributes:
        path: file of the blocks.
        shape: (channels, D, H, W).
        dtype: "float32" or "int16".
        offsets: offset of each block in the file, and the end of the last one.
        digests: SHA-256 of each compressed block.
        recreate: writes the array again from its source after damage, and returns it; None refuses damaged blocks.
    """

    path: Path
    shape: tuple[int, int, int, int]
    dtype: str
    offsets: tuple[int, ...]
    digests: tuple[str, ...]
    recreate: "Callable[[], BloscArray] | None" = field(default=None, compare=False)

    def __getitem__(self, box: tuple[slice, slice, slice, slice]) -> Num[Tensor, "channels d h w"]:
        """Return a copy of the voxels of a box.

        Raises:
            CorruptFileError: if a block has changed since it was written.
        """
        parts = [range(count)[part] for part, count in zip(box[1:], self.shape[1:], strict=True)]
        result = np.empty((self.shape[0], *map(len, parts)), self.dtype)
        blocks = [
            range(part.start // BLOCK_SIZE, -(-part.stop // BLOCK_SIZE)) if len(part) else range(0) for part in parts
        ]
        for block in product(*blocks):
            target, source = [], []
            for index, part, count in zip(block, parts, self.shape[1:], strict=True):
                low, high = max(part.start, index * BLOCK_SIZE), min(part.stop, (index + 1) * BLOCK_SIZE, count)
                target.append(slice(low - part.start, high - part.start))
                source.append(slice(low - index * BLOCK_SIZE, high - index * BLOCK_SIZE))
            result[:, target[0], target[1], target[2]] = self._block(block)[:, source[0], source[1], source[2]]
        return torch.from_numpy(result[box[0]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        array = self[:, 0 : self.shape[1], 0 : self.shape[2], 0 : self.shape[3]].numpy()
        return array if dtype is None else array.astype(dtype)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values, without the path."""
        return {"shape": self.shape, "dtype": self.dtype, "offsets": self.offsets, "digests": self.digests}

    @classmethod
    def from_json(
        cls, path: Path, content: dict[str, Any], recreate: "Callable[[], BloscArray] | None" = None
    ) -> "BloscArray":
        """Return the object that `to_json` was called on.

        Args:
            path: file of the blocks.
            content: what `to_json` returned.
            recreate: see the class.

        Raises:
            CorruptFileError: if the file has another length.
        """
        shape, dtype = tuple(content["shape"]), content["dtype"]
        array = cls(path, shape, dtype, tuple(content["offsets"]), tuple(content["digests"]), recreate)
        blocks = len(list(_block_slices(array.shape)))
        valid = dtype in DTYPES and len(array.offsets) == blocks + 1 and len(array.digests) == blocks
        if not valid or not path.is_file() or path.stat().st_size != array.offsets[-1]:
            raise CorruptFileError(f"{path} has changed since it was written; delete its folder, it will be recreated")
        return array

    def _block(self, block: tuple[int, ...]) -> NDArray[Any]:
        counts = [-(-size // BLOCK_SIZE) for size in self.shape[1:]]
        number = (block[0] * counts[1] + block[1]) * counts[2] + block[2]
        source = self
        stored = source._stored(number)
        if stored is None and self.recreate is not None:
            warnings.warn(f"block {number} of {self.path} is damaged; the case is preprocessed again", stacklevel=4)
            source = self.recreate()
            self.__dict__.pop("_mapped", None)  # of the damaged file
            stored = source._stored(number) if source.shape == self.shape else None
            if (source.offsets, source.digests) != (self.offsets, self.digests):
                stored = None
        if stored is None:
            raise CorruptFileError(f"block {number} of {self.path} is corrupt; delete its folder, it will be recreated")
        sizes = [min(BLOCK_SIZE, size - index * BLOCK_SIZE) for index, size in zip(block, self.shape[1:], strict=True)]
        array = np.empty((self.shape[0], *sizes), self.dtype)
        _import_blosc2().decompress2(stored, dst=array)
        return array

    def _stored(self, number: int) -> memoryview | None:
        """Return a compressed block; None if it has changed since it was written."""
        stored = self._mapped[self.offsets[number] : self.offsets[number + 1]]
        return stored if hashlib.sha256(stored).hexdigest() == self.digests[number] else None

    @cached_property
    def _mapped(self) -> memoryview:
        with self.path.open("rb") as stream:
            return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_mapped"}


def write_blosc_array(array: NDArray[Any], path: Path) -> BloscArray:
    """Write an array in compressed blocks, atomically.

    Args:
        array: (channels, D, H, W), float32 or int16.
        path: where to write.
    """
    if array.ndim != 4 or str(array.dtype) not in DTYPES:
        raise DataError(
            f"cannot write an array of {array.shape} {array.dtype}; (channels, D, H, W) of {' or '.join(DTYPES)} is "
            "expected"
        )
    blosc2, offsets, digests = _import_blosc2(), [0], []
    with atomic_write(path) as scratch, scratch.open("wb") as stream:
        for box in _block_slices(array.shape):
            block = np.ascontiguousarray(array[(slice(None), *box)])
            stored = blosc2.compress2(
                block, codec=blosc2.Codec.ZSTD, clevel=COMPRESSION_LEVEL, typesize=block.itemsize, nthreads=1,
                filters=[blosc2.Filter.SHUFFLE],
            )  # fmt: skip
            stream.write(stored)
            offsets.append(offsets[-1] + len(stored))
            digests.append(hashlib.sha256(stored).hexdigest())
    shape: tuple[int, int, int, int] = tuple(array.shape)
    return BloscArray(path, shape, str(array.dtype), tuple(offsets), tuple(digests))


def _block_slices(shape: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Yield the slices of each block, the last axis fastest."""
    starts = [range(0, size, BLOCK_SIZE) for size in shape[1:]]
    for start in product(*starts):
        yield tuple(slice(first, first + BLOCK_SIZE) for first in start)


def _import_blosc2() -> Any:
    try:
        import blosc2
    except ModuleNotFoundError as fault:
        raise DataError("training.cache_dir needs blosc2: pip install 'dimlift[packed]', or unset it") from fault
    return blosc2
