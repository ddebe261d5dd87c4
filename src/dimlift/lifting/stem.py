"""The first convolution: channels of the volume, intensities, and how finely it samples."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from dimlift.errors import CannotLift, PlanError
from dimlift.lifting.layers.conv import kind_of

Channels = Callable[[Any, nn.Conv2d | None], int]
"""(the module that reads the image, the first convolution of the network if it has one) -> channels of the image."""

INTAKES: dict[str, Channels] = {}
"""By class name: modules that read the image without a convolution, as pixels shuffled to channels or flat patches."""


def register_intake(name: str, channels: Channels) -> None:
    """Teach dimlift a module that reads the image by other means than a convolution."""
    INTAKES[name] = channels


def _shuffled(module: Any, first: nn.Conv2d | None) -> int:
    return 3 if first is None else first.in_channels // module.bs**2


register_intake("SpaceToDepth", _shuffled)  # TResNet
register_intake("LearnableDct2d", lambda module, first: 3)  # CSATv2
register_intake("NaFlexEmbeds", lambda module, first: module.in_chans)
register_intake("Gemma4PatchEmbed", lambda module, first: module.input_proj.in_features // math.prod(module.patch_size))


def image_readers(network: nn.Module) -> dict[str, nn.Conv2d]:
    """The convolutions that read the image: those with as many inputs as the first one, where that is three or one.

    None where a registered intake does.

    Raises:
        CannotLift: if the network has neither.
    """
    convolutions = {name: m for name, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    if any(type(module).__name__ in INTAKES for module in network.modules()):
        return {}
    if not convolutions:
        if any(isinstance(module, nn.Conv3d) for module in network.modules()):
            raise CannotLift(
                "the network has nn.Conv3d and no nn.Conv2d: it reads volumes already; lift a 2D one, or train this "
                "one as it is (`method: pretrained_3d` knows MONAI's by name)"
            )
        raise CannotLift(
            "the network has no nn.Conv2d, so what reads its image is not known; name the module that does "
            "once with dimlift.lifting.stem.register_intake('ItsClass', lambda module, first: channels)"
        )
    channels = next(iter(convolutions.values())).in_channels
    readers = {name: m for name, m in convolutions.items() if m.in_channels == channels}
    return readers if channels == 3 else dict(list(readers.items())[:1])


def image_channels(network: nn.Module) -> int:
    """Channels of the images the 2D network reads."""
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    for module in network.modules():
        if type(module).__name__ in INTAKES:
            return INTAKES[type(module).__name__](module, first)
    return next(iter(image_readers(network).values())).in_channels


def share_colours(readers: dict[str, nn.Conv2d]) -> None:
    """Give every input of the first kernels the mean of its colours: the channels of a scan are none.

    Standardised kernels stay as they are, since their statistics are those of the colours.
    """
    for name, conv in readers.items():
        if kind_of(conv, name).gain is None:
            weight = conv.weight.detach().mean(1, keepdim=True).expand_as(conv.weight).contiguous()
            conv.weight = nn.Parameter(weight, requires_grad=conv.weight.requires_grad)


class Normalisation:
    """(x - mean) / std inside the lifted network, so that it reads intensities as the 2D network's images had them.

    The scale goes into the first kernels where that is exact. The mean never does: it must be gone before zeros are
    padded around the image, or the border answers as if the image were surrounded by its mean.
    """

    def __init__(self, mean: Sequence[float] | None, std: Sequence[float] | None, channels: int) -> None:
        self.channels = channels
        self.mean = _per_channel(mean, "mean", channels)
        self.std = _per_channel(std, "std", channels)
        if self.std is not None and bool((self.std <= 0).any()):
            raise PlanError(f"std must be positive, got {tuple(self.std.tolist())}; leave it out to keep intensities")

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """As the 2D network would have been shown its images."""
        if self.mean is not None:
            images = images - self.mean.to(images)[:, None, None]
        return images if self.std is None else images / self.std.to(images)[:, None, None]

    def scale_kernels(self, readers: dict[str, nn.Conv2d]) -> bool:
        """Divide the first kernels by the std; False where a standardised kernel would undo it."""
        if self.std is None:
            return True
        if not readers or any(kind_of(conv, name).gain is not None for name, conv in readers.items()):
            return False
        for conv in readers.values():
            conv.weight = nn.Parameter(
                conv.weight.detach() / self.std.to(conv.weight)[:, None, None], requires_grad=conv.weight.requires_grad
            )
        return True


def _per_channel(values: Sequence[float] | None, what: str, channels: int) -> torch.Tensor | None:
    if values is None:
        return None
    numbers = torch.tensor([float(v) for v in values], dtype=torch.float64)
    if len(numbers) not in (1, channels):
        raise PlanError(f"{what} has {len(numbers)} numbers for images of {channels} channels; give {channels} or 1")
    return numbers.expand(channels).contiguous()


def refinement(network: nn.Module, stem_stride: int | None) -> float:
    """How many times as fine maps become by another step of the first convolution."""
    steps = [conv.stride[0] for conv in image_readers(network).values()]
    return steps[0] / stem_stride if stem_stride and steps else 1.0


def refine_stem(readers: dict[str, nn.Conv2d], stride: int) -> None:
    """Let the first convolution step by `stride` pixels: finer maps from there on, at a price.

    Raises:
        PlanError: if that is no finer than it was.
    """
    if not readers:
        raise PlanError("the image is not read by a convolution, so its stride is not known; leave stem_stride out")
    for name, conv in readers.items():
        kernel, old = conv.kernel_size[0], conv.stride[0]
        if not 1 <= stride <= old:
            raise PlanError(f"stem_stride={stride} is not between 1 and the {old} of {name}; leave it out to keep it")
        if kernel == old and stride < old:  # a patchifying stem has no padding: keep maps a whole fraction of the image
            conv.padding = "same" if stride == 1 else ((kernel - stride) // 2,) * 2
            side = (kernel - 1) // 2
            conv._reversed_padding_repeated_twice = [side, kernel - 1 - side] * 2
        conv.stride = (stride, stride)
