"""Fixed sine and cosine position embeddings of voxel coordinates, shared by tubes of all shapes.

- Piergiovanni et al., TubeViT, CVPR 2023, https://arxiv.org/abs/2212.03229 (equations 3 to 7)
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def sinusoidal_embedding(
    centres: Float[Tensor, "tokens 3"], width: int, base: float = 10_000.0
) -> Float[Tensor, "tokens width"]:
    """Return six channels per frequency: sine and cosine of z, of y, and of x.

    Frequencies are base^(-j / n) for j = 0 ... n - 1 with n = width // 6; remaining channels (4 of 1024) are zero. The
    paper specifies neither the exponent nor the remainder.

    Args:
        centres: (z, y, x) centre of each token in voxels.
        width: channels of a token.
    """
    count = width // 6
    frequencies = base ** -(torch.arange(count, device=centres.device, dtype=torch.float64) / max(count, 1))
    angles = centres.double()[:, None, :] * frequencies[None, :, None]
    embedding = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
    return F.pad(embedding, (0, width - 6 * count)).to(torch.float32)
