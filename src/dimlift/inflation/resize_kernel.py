"""Kernels of another size with the same response to an input resized accordingly.

- Beyer et al., FlexiViT, 2022, https://arxiv.org/abs/2212.08013 (pseudo-inverse resizing)
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def pi_resize_kernel(kernel: Float[Tensor, "out in h w"], size: tuple[int, int]) -> Float[Tensor, "out in h2 w2"]:
    """Return the kernel whose response to a patch resized bilinearly to `size` is that of `kernel` to the patch.

    Exact if the patch grows. If it shrinks, details are lost and the result is the least-squares solution.
    """
    old = (kernel.shape[2], kernel.shape[3])
    if old == size:
        return kernel
    basis = torch.eye(old[0] * old[1], dtype=torch.float64).view(-1, 1, *old)
    resized = F.interpolate(basis, size, mode="bilinear", align_corners=False).flatten(1)  # (old, new): B transposed
    weights = kernel.detach().cpu().double().flatten(2) @ torch.linalg.pinv(resized).T
    return weights.unflatten(2, size).to(kernel)


def linear_resize_kernel(kernel: Float[Tensor, "out in *old"], size: Sequence[int]) -> Float[Tensor, "out in *new"]:
    """Return the kernel whose response to a window of `size` is that of `kernel` to the window resized linearly.

    Exact for larger and smaller sizes, along any number of axes, and differentiable. Resizing averages, so the sum of
    the kernel is unchanged: the response to a constant window does not depend on its size.
    """
    for axis, (old, new) in enumerate(zip(kernel.shape[2:], size, strict=True), start=2):
        if old != new:
            basis = torch.eye(new, dtype=kernel.dtype, device=kernel.device)[:, None, None]
            resized = F.interpolate(basis, (1, old), mode="bilinear", antialias=True)[:, 0, 0]  # (new, old)
            kernel = (kernel.movedim(axis, -1) @ resized.T).movedim(-1, axis)
    return kernel
