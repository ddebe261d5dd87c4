"""Filter bank of Gaussian derivatives at three scales: a control without learning, with 24 channels per slice.

Gaussian derivatives up to second order span the responses of simple cells (Koenderink and van Doorn, 1987,
https://doi.org/10.1007/BF00318371).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

SCALES = (2, 4, 8)
"""Standard deviation of the Gaussian, and stride of the map, in pixels of the (upsampled) slice."""


class FilterBank(nn.Module):
    """(B, C, H, W) -> one map of 8 channels per scale, at the strides of `SCALES`.

    The channels of a map are the smoothed image, its derivatives x, y, xx, xy, yy, the gradient magnitude and the
    Laplacian. Derivatives are multiplied by the scale (once or twice), so that scales are comparable.
    """

    def forward(self, slices: Float[Tensor, "batch channels height width"]) -> list[Float[Tensor, "batch 8 _ _"]]:
        """Return one map per scale, finest first; a feature voxel is the mean over its block of pixels."""
        grey = slices.mean(dim=1, keepdim=True)
        return [F.avg_pool2d(_responses(grey, sigma), sigma) for sigma in SCALES]


def _responses(grey: Tensor, sigma: int) -> Tensor:
    gaussian, first, second = _kernels(sigma, grey)
    smooth, along_x, along_xx = (_filter(grey, kernel, 3) for kernel in (gaussian, first, second))
    x, xx = _filter(along_x, gaussian, 2), _filter(along_xx, gaussian, 2)
    y, yy = _filter(smooth, first, 2), _filter(smooth, second, 2)
    xy = _filter(along_x, first, 2)
    channels = [_filter(smooth, gaussian, 2), x, y, xx, xy, yy, (x.square() + y.square()).sqrt(), xx + yy]
    return torch.cat(channels, dim=1)


def _kernels(sigma: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    position = torch.arange(-3 * sigma, 3 * sigma + 1, dtype=like.dtype, device=like.device) / sigma
    gaussian = torch.exp(-0.5 * position.square())
    gaussian = gaussian / gaussian.sum()
    second = (position.square() - 1) * gaussian
    return gaussian, -position * gaussian, second - gaussian * second.sum()  # zero response to a constant


def _filter(grey: Tensor, kernel: Tensor, axis: int) -> Tensor:
    radius = len(kernel) // 2
    pad = (radius, radius, 0, 0) if axis == 3 else (0, 0, radius, radius)
    weight = kernel.flip(0).reshape(1, 1, *((1, -1) if axis == 3 else (-1, 1)))
    return F.conv2d(F.pad(grey, pad, mode="replicate"), weight)
