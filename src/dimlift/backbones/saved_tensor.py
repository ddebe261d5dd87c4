"""SavedTensor: a tensor of a checkpoint before its values are read."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

STORAGE_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "UntypedStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}
"""By the name of torch's storage classes, the type of their elements."""

MAX_REPEATED = 2**24
"""Elements of a tensor that repeats its storage (stride 0): a file could state any number of them."""

ReadBytes = Callable[[str], Tensor]
"""Returns the bytes of a storage, by its key, as a tensor of uint8."""


@dataclass(frozen=True, slots=True)
class SavedStorage:
    """A block of numbers in a checkpoint, from the element `offset` on."""

    key: str
    dtype: torch.dtype
    offset: int = 0

    def __setstate__(self, state: object) -> None:
        raise ValueError("it changes a block of numbers of the reader")


@dataclass(frozen=True, slots=True)
class SavedTensor:
    """A tensor of a checkpoint: where its numbers are, and its shape.

    Attributes:
        storage: block of numbers.
        dtype: of the tensor; that of the storage unless the storage is untyped.
        offset: of the first element.
        shape: of the tensor.
        stride: in elements.
    """

    storage: SavedStorage
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __setstate__(self, state: object) -> None:
        raise ValueError("it changes a tensor of the reader")

    def load(self, read: ReadBytes) -> Tensor:
        """Return the tensor.

        Raises:
            ValueError: if the storage has fewer elements than the tensor states.
        """
        content = read(self.storage.key).view(self.dtype)
        numbers = (self.offset, *self.shape, *self.stride)
        if min(numbers) < 0 or len(self.shape) != len(self.stride):
            raise ValueError(f"a tensor of shape {self.shape} has the stride {self.stride}")
        count = math.prod(self.shape)
        last = self.offset + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        if count and last >= len(content):
            raise ValueError(f"a tensor of shape {self.shape} needs {last + 1} numbers, its block has {len(content)}")
        if count > max(len(content), MAX_REPEATED):
            raise ValueError(f"a tensor of shape {self.shape} repeats a block of {len(content)} numbers")
        return content.as_strided(self.shape, self.stride, self.offset)
