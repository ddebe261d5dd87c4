"""The sizes at which a 2D network reads every pixel of its image, and padding of slices to the next of them."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.errors import PlanError
from dimlift.lifting.input_size import SIZE_ERRORS, fixed_image_size
from dimlift.lifting.unread_pixels import UnreadPixels, run_and_record

MAX_MULTIPLE = 64
"""Largest multiple to which slices of sizes that a network refuses are padded."""

MAX_STEPS = 16
"""Trials from one size to the next that is read wholly: one for each stage that has its own remainder."""


class SlicePadding(NamedTuple):
    """Heights and widths at which every pixel is read: multiples, plus a remainder in networks without padding.

    Attributes:
        multiple: of (height, width); 1 if every size is read wholly.
        remainder: of (height, width), by which the sizes exceed a multiple; 0 in all but networks whose convolutions
            have no padding (Inception).
    """

    multiple: tuple[int, int] = (1, 1)
    remainder: tuple[int, int] = (0, 0)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return the smallest (height, width) that is read wholly and holds a slice."""
        sides = zip((height, width), self.multiple, self.remainder, strict=True)
        high, wide = (side + (rest - side) % by for side, by, rest in sides)
        return high, wide

    def __call__(
        self, volume: Float[Tensor, "batch channels depth height width"]
    ) -> Float[Tensor, "batch channels depth height2 width2"]:
        """Return the volume with its last row and column repeated up to `size`."""
        height, width = volume.shape[3:]
        high, wide = self.size(height, width)
        if (high, wide) == (height, width):
            return volume
        flat = F.pad(volume.flatten(1, 2), (0, wide - width, 0, high - height), mode="replicate")
        return flat.unflatten(1, volume.shape[1:3])


class _Trials:
    """Runs of a 2D network at several sizes: on the meta device, or really where an operator has no shapes there.

    Attributes:
        size: (height, width) of the first run that succeeded; None if none did.
        unread: what it left unread.
    """

    def __init__(self, network: nn.Module, channels: int, sizes: Sequence[tuple[int, int]]) -> None:
        self.network, self.channels = network, channels
        self._known: dict[tuple[int, int, bool], list[UnreadPixels] | None] = {}
        self.size: tuple[int, int] | None = None
        self.unread: list[UnreadPixels] = []
        recurrent = any(isinstance(module, nn.RNNBase) for module in network.modules())  # slow on the meta device
        for self.on_meta in (False, True) if recurrent else (True, False):
            for size in sizes:
                found = self.run(*size)
                if found is not None:
                    self.size, self.unread = size, found
                    return

    def run(self, height: int, width: int) -> list[UnreadPixels] | None:
        """Return what is left unread at a size; None if the network refuses it.

        A network that returns one map, with a value for every pixel, is to keep the size of its output. Of such a
        network only pixels of the image itself count, not those of inner maps.
        """
        key = height, width, self.on_meta
        if key not in self._known:
            self._known[key] = self._run_once(height, width)
        return self._known[key]

    def _run_once(self, height: int, width: int) -> list[UnreadPixels] | None:
        training = {name: module.training for name, module in self.network.named_modules()}
        self.network.eval()
        try:
            out, recorder = run_and_record(self.network, self.channels, (height, width), self.on_meta)
        except (*SIZE_ERRORS, NotImplementedError):
            return None
        finally:
            for name, module in self.network.named_modules():
                module.training = training[name]
        is_dense = isinstance(out, Tensor) and out.ndim == 4
        return [found for found in recorder.unread if found.of_image or not is_dense]


def find_padding(
    network: nn.Module, channels: int, fixed: tuple[int, int] | None, sizes: Sequence[tuple[int, int]]
) -> SlicePadding:
    """Find the sizes at which a 2D network reads every pixel.

    Args:
        network: the network.
        channels: of its images.
        fixed: (height, width) it is bound to; None if it takes other sizes.
        sizes: (height, width) at which it may run.
    """
    if fixed is not None:
        return _up_to_last_patch(network, fixed)
    trials = _Trials(network, channels, sizes)
    if trials.size is None:
        return SlicePadding()
    multiple, remainder = [1, 1], (0, 0)
    for more in _excesses(network):
        known = SlicePadding((multiple[0], multiple[1]), remainder)
        size = [trials.size[0] + more, trials.size[1] + more]
        for step in range(MAX_STEPS):
            found = trials.run(size[0], size[1])
            if found is None:
                return _multiple_of_refused(trials)
            if not found:
                break
            for axis in (0, 1):
                lost = [each for each in found if each.axis == axis]
                multiple[axis] = math.lcm(multiple[axis], *(each.before * each.stride for each in lost))
                size[axis] += min((each.before, each.missing) for each in lost)[1] if lost else 0
            if not step:  # the sizes found before are likely to be read wholly
                size = list(known.size(size[0], size[1]))
        else:
            return SlicePadding()
        remainder = size[0] % multiple[0], size[1] % multiple[1]
    return SlicePadding((multiple[0], multiple[1]), remainder)


def covering_size(network: nn.Module, channels: int, size: tuple[int, int]) -> tuple[int, int]:
    """Return the smallest (height, width) of whole patches that hold images of the size a network is bound to.

    It is `size` itself if the network reads all of it, or does not run.
    """
    found = _Trials(network, channels, [size]).unread
    high, wide = (
        side + min(((each.before, each.missing) for each in found if each.axis == axis), default=(0, 0))[1]
        for axis, side in enumerate(size)
    )
    return high, wide


def require_whole_patches(network: nn.Module, channels: int) -> None:
    """Check that a network bound to an image size reads all of such an image.

    Raises:
        PlanError: if patches do not fill it, with the size to build the network for.
    """
    bound = fixed_image_size(network)
    if bound is None:
        return
    whole = covering_size(network, channels, bound)
    if whole != bound:
        stride = first_conv(network).stride
        raise PlanError(
            f"this network is built for slices of {bound[0]} x {bound[1]}, which its patches of {stride[0]} x "
            f"{stride[1]} do not fill: the last rows and columns would never be read; build it for, or lift it with, "
            f"image_size={whole}"
        )


def _excesses(network: nn.Module) -> list[int]:
    """Return by how many pixels trial sizes exceed a power of two: maps odd at every stage, then even at every stage.

    A first convolution of a larger stride has more remainders.
    """
    stem = first_conv(network)
    more = [] if stem is None or max(stem.stride) < 3 else [max(stem.stride) // 2, max(stem.stride) - 1]
    return [1, *more, 0]


def first_conv(network: nn.Module) -> Any:
    """Return the first convolution of a network, None if it has none."""
    return next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)


def _up_to_last_patch(network: nn.Module, fixed: tuple[int, int]) -> SlicePadding:
    """Return the padding of a network bound to one size, to which slices are padded that lack part of a patch."""
    stem = first_conv(network)
    if stem is None or any(side % step for side, step in zip(fixed, stem.stride, strict=True)):
        return SlicePadding()
    return SlicePadding((stem.stride[0], stem.stride[1]))


def _multiple_of_refused(trials: _Trials) -> SlicePadding:
    """Return the smallest multiple of the first stride that is accepted; no padding if there is none."""
    stem = first_conv(trials.network)
    least = max(trials.size or (1, 1))
    multiple = 1 if stem is None else math.lcm(*stem.stride)
    while 1 < multiple <= MAX_MULTIPLE:
        count = -(-least // multiple)
        found = [trials.run(multiple * blocks, multiple * blocks) for blocks in (count, count + 1, count + 2)]
        if all(each is not None and not each for each in found):
            return SlicePadding((multiple, multiple))
        multiple *= 2
    return SlicePadding()
