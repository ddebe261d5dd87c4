"""Chamfer distance: how far two clouds lie apart, without saying which point belongs to which."""

import torch
from jaxtyping import Float
from torch import Tensor


def chamfer(
    one: Float[Tensor, "batch n 3"], other: Float[Tensor, "batch m 3"], squared: bool = True
) -> Float[Tensor, " batch"]:
    """Mean distance to the nearest point of the other cloud, both ways added (Fan et al., 2017; CD-L2 or CD-L1).

    Meant for the small patches of masked autoencoders (tens of points, many patches): the whole distance matrix of
    each pair is formed.

    Args:
        squared: CD-L2, squared distances; else CD-L1, half the sum of the two mean distances.
    """
    gaps = (one[:, :, None] - other[:, None]).square().sum(-1)  # (batch, n, m)
    there, back = gaps.amin(2), gaps.amin(1)
    if squared:
        return there.mean(1) + back.mean(1)
    # the root has no slope at zero: points that lie on each other pull nowhere
    there, back = (torch.where(d > 0, d.clamp_min(1e-12).sqrt(), 0.0) for d in (there, back))
    return (there.mean(1) + back.mean(1)) / 2
