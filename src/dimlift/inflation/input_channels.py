"""Fit the first kernel to volumes that do not have three colours."""

from jaxtyping import Float
from torch import Tensor


def adapt_channels(kernel: Float[Tensor, "out in *window"], channels: int) -> Float[Tensor, "out channels *window"]:
    """A kernel for `channels` inputs that answers a grey image, copied to all of them, as it did before.

    The kernels of the old channels are added up and shared equally: summed for one channel (TransSeg and timm do the
    same), a third of nothing lost for any other number. Equal counts are handed back unchanged.
    """
    if kernel.shape[1] == channels:
        return kernel
    total = kernel.sum(1, keepdim=True)
    return total.expand(-1, channels, *kernel.shape[2:]) / channels
