"""A control without any learning: 24 hand-made channels of every slice, from Gaussian derivatives at three scales.

Gaussian derivatives up to second order span what simple cells see (Koenderink and van Doorn, 1987,
https://doi.org/10.1007/BF00318371).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

SCALES = (2, 4, 8)
"""Standard deviation of the bell, and stride of the map, in pixels of the (enlarged) slice."""


class FilterBank(nn.Module):
    """(B, C, H, W) -> a map of 8 channels for each scale, at the strides of `SCALES`.

    The channels of a map: smoothed image, its derivatives x, y, xx, xy, yy, the length of the gradient, the
    Laplacian; each derivative is multiplied by its scale (once or twice), so that scales compare.
    """

    def forward(self, slices: Float[Tensor, "batch channels height width"]) -> list[Float[Tensor, "batch 8 _ _"]]:
        """One map for each scale, finest first; a feature voxel is the mean over the block of pixels it covers."""
        grey = slices.mean(dim=1, keepdim=True)
        return [F.avg_pool2d(_responses(grey, sigma), sigma) for sigma in SCALES]


def _responses(grey: Tensor, sigma: int) -> Tensor:
    bell, slope, curve = _profiles(sigma, grey)
    smooth, along_x, along_xx = (_filter(grey, profile, 3) for profile in (bell, slope, curve))
    x, xx = _filter(along_x, bell, 2), _filter(along_xx, bell, 2)
    y, yy = _filter(smooth, slope, 2), _filter(smooth, curve, 2)
    xy = _filter(along_x, slope, 2)
    channels = [_filter(smooth, bell, 2), x, y, xx, xy, yy, (x.square() + y.square()).sqrt(), xx + yy]
    return torch.cat(channels, dim=1)


def _profiles(sigma: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    place = torch.arange(-3 * sigma, 3 * sigma + 1, dtype=like.dtype, device=like.device) / sigma
    bell = torch.exp(-0.5 * place.square())
    bell = bell / bell.sum()
    curve = (place.square() - 1) * bell
    return bell, -place * bell, curve - bell * curve.sum()  # no answer to a constant


def _filter(grey: Tensor, profile: Tensor, axis: int) -> Tensor:
    reach = len(profile) // 2
    pad = (reach, reach, 0, 0) if axis == 3 else (0, 0, reach, reach)
    kernel = profile.flip(0).reshape(1, 1, *((1, -1) if axis == 3 else (-1, 1)))
    return F.conv2d(F.pad(grey, pad, mode="replicate"), kernel)
