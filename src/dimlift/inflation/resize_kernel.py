"""Another size for a kernel, so that what is shown larger or smaller gets the answer it had.

- Beyer et al., FlexiViT, 2022, https://arxiv.org/abs/2212.08013 (pseudo-inverse resizing)
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def resample_kernel(kernel: Float[Tensor, "out in h w"], size: tuple[int, int]) -> Float[Tensor, "out in h2 w2"]:
    """The kernel that says to a patch resized bilinearly to `size` what `kernel` says to the patch itself.

    Exact where the patch grows; where it shrinks, details are lost and the answer is the nearest there is.
    """
    old = (kernel.shape[2], kernel.shape[3])
    if old == size:
        return kernel
    basis = torch.eye(old[0] * old[1], dtype=torch.float64).view(-1, 1, *old)
    resized = F.interpolate(basis, size, mode="bilinear", align_corners=False).flatten(1)  # (old, new): B transposed
    turned = kernel.detach().cpu().double().flatten(2) @ torch.linalg.pinv(resized).T
    return turned.unflatten(2, size).to(kernel)


def stretched_kernel(kernel: Float[Tensor, "out in *old"], size: Sequence[int]) -> Float[Tensor, "out in *new"]:
    """The kernel that says to a window of `size` what `kernel` says to that window resized linearly to its own size.

    Exact, whichever is larger, along any number of axes, and differentiable. Resizing averages, so the kernel's sum
    stays what it was: the answer to an even window does not depend on its size.
    """
    for axis, (old, new) in enumerate(zip(kernel.shape[2:], size, strict=True), start=2):
        if old != new:
            basis = torch.eye(new, dtype=kernel.dtype, device=kernel.device)[:, None, None]
            resized = F.interpolate(basis, (1, old), mode="bilinear", antialias=True)[:, 0, 0]  # (new, old)
            kernel = (kernel.movedim(axis, -1) @ resized.T).movedim(-1, axis)
    return kernel
