"""Farthest point sampling: points spread over a cloud, each the farthest from those before it."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dimlift.errors import ShapeError


def farthest_points(
    points: Float[Tensor, "batch points 3"], count: int, start: Int[Tensor, " batch"] | None = None
) -> Int[Tensor, "batch count"]:
    """Indices of `count` points of each cloud (Eldar et al., 1997; PointNet++, 2017, https://arxiv.org/abs/1706.02413).

    Args:
        points: coordinates; finite.
        count: at most as many as there are points.
        start: the first point of each cloud; the point farthest from the cloud's centre if None, so that the answer
            does not depend on the order of the points (ties aside).

    Raises:
        ShapeError: if there are fewer points than asked for.
    """
    batch, total = points.shape[:2]
    if not 1 <= count <= total:
        raise ShapeError(f"{count} points to be sampled from clouds of {total}; ask for 1 to {total}")
    if start is None:
        start = (points - points.mean(dim=1, keepdim=True)).square().sum(-1).argmax(dim=1)
    chosen = torch.empty(batch, count, dtype=torch.int64, device=points.device)
    nearest = torch.full((batch, total), torch.inf, dtype=points.dtype, device=points.device)
    rows, last = torch.arange(batch, device=points.device), start
    for index in range(count):
        chosen[:, index] = last
        distance = (points - points[rows, last][:, None]).square().sum(-1)
        nearest = torch.minimum(nearest, distance)
        last = nearest.argmax(dim=1)
    return chosen


def gather_points(
    values: Float[Tensor, "batch points channels"], index: Int[Tensor, "batch ..."]
) -> Float[Tensor, "batch ... channels"]:
    """Values of chosen points: `index` may have any number of axes behind the first."""
    flat = index.flatten(1)
    found = values.gather(1, flat[..., None].expand(-1, -1, values.shape[-1]))
    return found.unflatten(1, index.shape[1:])
