"""Interpolation along one axis as a matrix: linear for coarse features, cubic B-spline for smooth deformations."""

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor


def linear_matrix(positions: Float[Tensor, " out"], count: int) -> Float[Tensor, "out count"]:
    """Return weights that read `count` samples at fractional indices; the edge value is repeated beyond the ends."""
    positions = positions.clamp(0, count - 1)
    left = positions.floor().clamp(max=max(0, count - 2))
    right_weight = positions - left
    matrix = torch.zeros(len(positions), count)
    rows = torch.arange(len(positions))
    matrix[rows, left.long()] = 1 - right_weight
    if count > 1:
        matrix[rows, left.long() + 1] = right_weight
    return matrix


def bspline_matrix(positions: Float[Tensor, " out"], intervals: int) -> Float[Tensor, "out intervals+3"]:
    """Return weights of uniform cubic B-splines on `intervals` intervals, with three more control points.

    Rueckert et al., 1999, https://doi.org/10.1109/42.796284

    Args:
        positions: from 0 to `intervals`.
        intervals: number of intervals.
    """
    first = positions.floor().clamp(0, intervals - 1)
    t = positions - first
    weights = torch.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], dim=1
    ) / 6  # fmt: skip
    return torch.zeros(len(positions), intervals + 3).scatter_(1, first.long()[:, None] + torch.arange(4), weights)


def apply_separable(
    values: Float[Tensor, "channels d h w"],
    depth: Float[Tensor, "D d"],
    height: Float[Tensor, "H h"],
    width: Float[Tensor, "W w"],
) -> Float[Tensor, "channels D H W"]:
    """Apply one matrix along each axis, the innermost axis first."""
    values = einsum(values, width, "c d h w, W w -> c d h W")
    values = einsum(values, height, "c d h W, H h -> c d H W")
    return einsum(values, depth, "c d H W, D d -> c D H W")
