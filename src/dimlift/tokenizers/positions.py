"""Fixed sines and cosines of where a token is, in voxels: nothing is learnt, so tubes of all shapes share one space.

- Piergiovanni et al., TubeViT, CVPR 2023, https://arxiv.org/abs/2212.03229 (equations 3 to 7)
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def sinusoids(centres: Float[Tensor, "tokens 3"], width: int, base: float = 10_000.0) -> Float[Tensor, "tokens width"]:
    """Six numbers a frequency: sine and cosine of z, of y, and of x.

    Frequencies are base^(-j / n) for j = 0 ... n - 1 with n = width // 6, so any width will do: what is left over of
    six (4 of 1024) stays zero. (The published text leaves the exponent and the remainder open; these are ours.)

    Args:
        centres: (z, y, x) of the middle of each token in voxels.
        width: of a token.
    """
    count = width // 6
    frequencies = base ** -(torch.arange(count, device=centres.device, dtype=torch.float64) / max(count, 1))
    angles = centres.double()[:, None, :] * frequencies[None, :, None]
    found = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
    return F.pad(found, (0, width - 6 * count)).to(torch.float32)
