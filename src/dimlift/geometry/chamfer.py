"""Chamfer distance between point clouds."""

import torch
from jaxtyping import Float
from torch import Tensor


def chamfer_distance(
    first: Float[Tensor, "batch n 3"], second: Float[Tensor, "batch m 3"], squared: bool = True
) -> Float[Tensor, " batch"]:
    """Return the mean distance to the nearest point of the other set, in both directions (Fan et al., 2017).

    The whole distance matrix of each pair is computed, which suits the patches of masked autoencoders (tens of points,
    many patches).

    Args:
        first: points.
        second: points.
        squared: CD-L2, the sum of both mean squared distances; else CD-L1, half the sum of both mean distances.
    """
    distances = (first[:, :, None] - second[:, None]).square().sum(-1)  # (batch, n, m)
    forward, backward = distances.amin(2), distances.amin(1)
    if squared:
        return forward.mean(1) + backward.mean(1)
    # the gradient of the square root is infinite at zero: coincident points get gradient zero
    forward, backward = (torch.where(d > 0, d.clamp_min(1e-12).sqrt(), 0.0) for d in (forward, backward))
    return (forward.mean(1) + backward.mean(1)) / 2
