"""Find the layers of a 2D network that leave the last pixels of their input unread, at one size of the image.

A convolution or pool with a stride reads whole windows only. A patch embedding of 14 reads 56 of 64 pixels; the
downsampling of ConvNeXt drops the last row of an odd map. Kernels, strides and paddings are observed while the network
runs, so that functional calls count as well as modules.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from dimlift.lifting.meta_device import run_on_meta

POOLS: dict[str, tuple[int, int, int, int | None]] = {
    "aten::max_pool2d_with_indices": (1, 2, 3, 4),
    "aten::avg_pool2d": (1, 2, 3, None),
    "aten::im2col": (1, 4, 3, 2),
}
"""Positions of kernel size, stride, padding and dilation among the arguments."""

PADS = ("aten::constant_pad_nd", "aten::reflection_pad2d", "aten::replication_pad2d")
"""Their second argument is the padding: (left, right, top, bottom)."""

NORMS = (
    "aten::native_batch_norm",
    "aten::_native_batch_norm_legit_no_training",
    "aten::native_layer_norm",
    "aten::native_group_norm",
)
"""They keep the shape of their first argument. On the meta device torch takes milliseconds for each."""


class UnreadPixels(NamedTuple):
    """What one layer leaves unread along one axis.

    Attributes:
        axis: 0 for height, 1 for width.
        before: pixels of the image from one position of its input to the next.
        stride: of the layer.
        missing: pixels by which the image has to grow so that the layer reads all its positions.
        of_image: whether its input has the size of the image.
    """

    axis: int
    before: int
    stride: int
    missing: int
    of_image: bool


class PixelRecorder(TorchDispatchMode):
    """Record, while active, which layers leave pixels unread.

    Rows and columns that were padded to a map just before hold nothing new and need not be read. Kernels smaller than
    their stride are left out: they skip pixels everywhere, as the shortcut of a residual block does, beside a branch
    that reads them.

    Args:
        image_size: (height, width) of the image.

    Attributes:
        unread: what was found.
    """

    def __init__(self, image_size: Sequence[int]) -> None:
        super().__init__()
        self.image_size = tuple(image_size)
        self.unread: list[UnreadPixels] = []
        self._before: list[dict[int, int]] = [{side: 1} for side in image_size]  # by the size of a map
        self._padded: WeakIdKeyDictionary = WeakIdKeyDictionary()  # (rows, columns) of padding at the end of a map

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name in NORMS and args[0].is_meta:
            return torch.empty_like(args[0]), args[0].new_empty(0), args[0].new_empty(0)
        out = func(*args, **(kwargs or {}))
        if func._schema.name in PADS and out.ndim == 4:
            self._record_padding(args[0], out, args[1])
        window = _window(func, args)
        if window is not None:
            image = out[0] if isinstance(out, tuple) else out
            self._record(args[0], image.shape[-2:] if image.ndim == args[0].ndim else None, *window)
        return out

    def _record_padding(self, images: Tensor, padded: Tensor, padding: Sequence[int]) -> None:
        self._padded[padded] = (padding[3] if len(padding) > 3 else 0, padding[1])
        for axis, known in enumerate(self._before):
            before = known.get(images.shape[axis - 2])
            if before is not None:
                known.setdefault(padded.shape[axis - 2], before)

    def _record(
        self, images: Tensor, cells: Sequence[int] | None, kernel: Any, strides: Any, padding: Any, dilation: Any
    ) -> None:
        if any(side == step == 1 for side, step in zip(images.shape[-2:], kernel, strict=True)):
            return  # a pool of tokens along one axis
        for axis in (0, 1):
            size, stride = images.shape[axis - 2], strides[axis]
            reach = dilation[axis] * (kernel[axis] - 1)
            count = (size + 2 * padding[axis] - reach - 1) // stride + 1 if cells is None else cells[axis]
            known = self._before[axis]
            before = known.get(size) or max(1, round(self.image_size[axis] / size))
            known.setdefault(count, before * stride)
            end = size - 1 - max(0, self._padded.get(images, (0, 0))[axis])
            last = (count - 1) * stride - padding[axis] + reach
            if last < end and reach + 1 >= stride:
                missing = before * (stride - padding[axis] - (end - last))
                of_image = tuple(images.shape[-2:]) == self.image_size
                self.unread.append(UnreadPixels(axis, before, stride, missing, of_image))


def _window(func: Any, args: Any) -> tuple[Any, ...] | None:
    """Return kernel size, stride, padding and dilation, a pair each; None for operators without windows."""
    name = func._schema.name
    if name == "aten::convolution" and args[0].ndim == 4 and not args[6]:
        return tuple(args[1].shape[2:]), *map(_pair, args[3:6])
    if name not in POOLS:
        return None
    kernel, stride, padding, dilation = (
        _pair(args[position]) if position is not None and position < len(args) else None for position in POOLS[name]
    )
    return kernel, stride or kernel, padding or (0, 0), dilation or (1, 1)


def _pair(numbers: Sequence[int]) -> tuple[int, ...]:
    return tuple(numbers) * 2 if len(numbers) == 1 else tuple(numbers)


def run_and_record(
    network: nn.Module, channels: int, size: tuple[int, int], on_meta: bool
) -> tuple[Any, PixelRecorder]:
    """Run a 2D network on one blank image.

    Args:
        network: the network.
        channels: of the image.
        size: (height, width).
        on_meta: run on the meta device, without arithmetic.

    Returns:
        Its output, and which pixels it left unread.

    Raises:
        RuntimeError, AssertionError, ValueError, IndexError or TypeError: what the network raises for this size.
    """
    shape, recorder = (1, channels, *size), PixelRecorder(size)
    with recorder, torch.no_grad():
        out = run_on_meta(network, shape) if on_meta else network(next(network.parameters()).new_zeros(shape))
    return out, recorder
