"""The stem: which convolutions read the image, how many channels it has, its normalisation and its stride."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from dimlift.errors import LiftError, PlanError
from dimlift.lifting.layers.conv import conv_type
from dimlift.lifting.registry import STEMS, find_registered, registration_hint


def stem_convs(network: nn.Module) -> dict[str, nn.Conv2d]:
    """Return the convolutions that read the image, by name; none if a registered stem reads it.

    If the first convolution has three inputs, these are all convolutions with three inputs; otherwise the first one.

    Raises:
        LiftError: if the network has neither a convolution nor a registered stem.
    """
    convs = {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    if any(find_registered(STEMS, type(module)) for module in network.modules()):
        return {}
    if not convs:
        if any(isinstance(module, nn.Conv3d) for module in network.modules()):
            raise LiftError(
                "the network has nn.Conv3d and no nn.Conv2d: it reads volumes already; lift a 2D network, or train "
                "this one with `method: pretrained_3d`, which knows MONAI's by name"
            )
        raise LiftError(
            "the network has no nn.Conv2d, so the module that reads its image is not known; "
            f"{registration_hint('stem')}"
        )
    channels = next(iter(convs.values())).in_channels
    stem = {name: conv for name, conv in convs.items() if conv.in_channels == channels}
    return stem if channels == 3 else dict(list(stem.items())[:1])


def image_channels(network: nn.Module) -> int:
    """Return the number of channels of the images the 2D network reads."""
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    for module in network.modules():
        registered = find_registered(STEMS, type(module))
        if registered is not None:
            return registered(module, first)
    return next(iter(stem_convs(network).values())).in_channels


def average_over_inputs(stem: Mapping[str, nn.Conv2d]) -> None:
    """Replace every input channel of the first kernels by the mean over RGB, in place: scans have no colours.

    Weight-standardised kernels are unchanged, since their statistics are those of the RGB kernel.
    """
    for name, conv in stem.items():
        if conv_type(conv, name).gain is None:
            weight = conv.weight.detach().mean(1, keepdim=True).expand_as(conv.weight).contiguous()
            conv.weight = nn.Parameter(weight, requires_grad=conv.weight.requires_grad)


def stem_scale(stem: Mapping[str, nn.Conv2d], stride: int | None) -> float:
    """Return the factor by which maps become finer with another stride of the first convolution."""
    strides = [conv.stride[0] for conv in stem.values()]
    return strides[0] / stride if stride and strides else 1.0


def set_stem_stride(stem: Mapping[str, nn.Conv2d], stride: int) -> None:
    """Set the stride of the first convolutions, in place: all maps become finer, at a higher cost.

    Raises:
        PlanError: if the stride is larger than the network's, or no convolution reads the image.
    """
    if not stem:
        raise PlanError("the image is not read by a convolution, so its stride is not known; leave stem_stride out")
    for name, conv in stem.items():
        kernel, old = conv.kernel_size[0], conv.stride[0]
        if not 1 <= stride <= old:
            raise PlanError(f"stem_stride={stride} is not between 1 and the {old} of {name}; leave it out to keep it")
        if kernel == old and stride < old:  # a patchifying stem has no padding: keep maps a whole fraction of the image
            conv.padding = "same" if stride == 1 else ((kernel - stride) // 2,) * 2
            side = (kernel - 1) // 2
            conv._reversed_padding_repeated_twice = [side, kernel - 1 - side] * 2
        conv.stride = (stride, stride)


class InputNormalisation:
    """(x - mean) / std inside the lifted network, so that it takes intensities on the scale of `mean` and `std`.

    The std is folded into the first kernels where that is exact. The mean is not: it has to be subtracted before the
    image is zero-padded, or the border is computed as if the image were surrounded by its mean.
    """

    def __init__(self, mean: Sequence[float] | None, std: Sequence[float] | None, channels: int) -> None:
        self.channels = channels
        self.mean = _per_channel(mean, "mean", channels)
        self.std = _per_channel(std, "std", channels)
        if self.std is not None and bool((self.std <= 0).any()):
            raise PlanError(f"std must be positive, got {tuple(self.std.tolist())}; leave it out to keep intensities")

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return normalised images (N, C, H, W)."""
        if self.mean is not None:
            images = images - self.mean.to(images)[:, None, None]
        return images if self.std is None else images / self.std.to(images)[:, None, None]

    def fold_std(self, stem: Mapping[str, nn.Conv2d]) -> bool:
        """Divide the first kernels by the std; return False where a weight-standardised kernel would undo it."""
        if self.std is None:
            return True
        if not stem or any(conv_type(conv, name).gain is not None for name, conv in stem.items()):
            return False
        for conv in stem.values():
            weight = conv.weight.detach() / self.std.to(conv.weight)[:, None, None]
            conv.weight = nn.Parameter(weight, requires_grad=conv.weight.requires_grad)
        return True


def _per_channel(values: Sequence[float] | None, name: str, channels: int) -> torch.Tensor | None:
    if values is None:
        return None
    numbers = torch.tensor([float(v) for v in values], dtype=torch.float64)
    if len(numbers) not in (1, channels):
        raise PlanError(f"{name} has {len(numbers)} numbers for images of {channels} channels; give {channels} or 1")
    return numbers.expand(channels).contiguous()
