"""Another size for a patch embedding's kernel, so that an image shown larger gets the answer it had.

- Beyer et al., FlexiViT, 2022, https://arxiv.org/abs/2212.08013 (pseudo-inverse resizing)
"""

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
