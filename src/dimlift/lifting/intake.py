"""The first convolution: channels of the volume, intensities, and how finely it samples."""

from collections.abc import Sequence

import torch
from torch import nn

from dimlift.errors import CannotLift, PlanError
from dimlift.lifting.talk.convolution import kind_of


def image_readers(network: nn.Module) -> dict[str, nn.Conv2d]:
    """The convolutions that read the image: those with as many inputs as the first one, where that is three or one.

    Raises:
        CannotLift: if the network has no convolution.
    """
    convolutions = {name: m for name, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    if not convolutions:
        raise CannotLift("the network has no nn.Conv2d, so nothing in it reads an image; lift one that does")
    channels = next(iter(convolutions.values())).in_channels
    readers = {name: m for name, m in convolutions.items() if m.in_channels == channels}
    return readers if channels == 3 else dict(list(readers.items())[:1])


class Normalisation:
    """(x - mean) / std inside the lifted network, so that it reads intensities as the 2D network's images had them.

    The scale goes into the first kernels where that is exact. The mean never does: it must be gone before zeros are
    padded around the image, or the border answers as if the image were surrounded by its mean.
    """

    def __init__(self, mean: Sequence[float] | None, std: Sequence[float] | None, channels: int) -> None:
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
        if any(kind_of(conv, name).gain is not None for name, conv in readers.items()):
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


def refine_stem(readers: dict[str, nn.Conv2d], stride: int) -> None:
    """Let the first convolution step by `stride` pixels: finer maps from there on, at a price.

    Raises:
        PlanError: if that is no finer than it was.
    """
    for name, conv in readers.items():
        kernel, old = conv.kernel_size[0], conv.stride[0]
        if not 1 <= stride <= old:
            raise PlanError(f"stem_stride={stride} is not between 1 and the {old} of {name}; leave it out to keep it")
        if kernel == old and stride < old:  # a patchifying stem has no padding: keep maps a whole fraction of the image
            conv.padding = "same" if stride == 1 else ((kernel - stride) // 2,) * 2
            side = (kernel - 1) // 2
            conv._reversed_padding_repeated_twice = [side, kernel - 1 - side] * 2
        conv.stride = (stride, stride)
