"""Interpolation along one axis as a matrix: linear to read coarse features, cubic B-spline for smooth deformations."""

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor


def linear_matrix(at: Float[Tensor, " out"], count: int) -> Float[Tensor, "out count"]:
    """Weights that read `count` samples at fractional indices; beyond the first and last the edge repeats."""
    at = at.clamp(0, count - 1)
    left = at.floor().clamp(max=max(0, count - 2))
    right_share = at - left
    matrix = torch.zeros(len(at), count)
    rows = torch.arange(len(at))
    matrix[rows, left.long()] = 1 - right_share
    if count > 1:
        matrix[rows, left.long() + 1] = right_share
    return matrix


def bspline_matrix(at: Float[Tensor, " out"], intervals: int) -> Float[Tensor, "out intervals+3"]:
    """Weights of uniform cubic B-splines on `intervals` intervals, three more control points than intervals.

    Rueckert et al., 1999, https://doi.org/10.1109/42.796284

    Args:
        at: positions from 0 to `intervals`.
    """
    first = at.floor().clamp(0, intervals - 1)
    t = at - first
    shares = torch.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], dim=1
    ) / 6  # fmt: skip
    return torch.zeros(len(at), intervals + 3).scatter_(1, first.long()[:, None] + torch.arange(4), shares)


def separable(
    values: Float[Tensor, "channels d h w"],
    depth: Float[Tensor, "D d"],
    height: Float[Tensor, "H h"],
    width: Float[Tensor, "W w"],
) -> Float[Tensor, "channels D H W"]:
    """Apply one matrix along each axis, the innermost and smallest result first."""
    values = einsum(values, width, "c d h w, W w -> c d h W")
    values = einsum(values, height, "c d h W, H h -> c d H W")
    return einsum(values, depth, "c d H W, D d -> c D H W")
