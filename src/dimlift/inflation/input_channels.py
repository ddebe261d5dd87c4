"""Adaptation of the first kernel to another number of input channels."""

from jaxtyping import Float
from torch import Tensor


def adapt_channels(kernel: Float[Tensor, "out in *window"], channels: int) -> Float[Tensor, "out channels *window"]:
    """Return a kernel for `channels` inputs with the same response to a grey image copied to every channel.

    The kernels of the old channels are summed and shared equally: one channel gets the sum, as in TransSeg and timm. An
    equal number of channels returns the kernel unchanged.
    """
    if kernel.shape[1] == channels:
        return kernel
    total = kernel.sum(1, keepdim=True)
    return total.expand(-1, channels, *kernel.shape[2:]) / channels
