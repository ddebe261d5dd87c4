"""Farthest point sampling."""

from contextlib import suppress

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dimlift.errors import ShapeError

MIN_COMPILED_DISTANCES = 2**22
"""Number of distances (points times samples) from which fpsample is used on the CPU, if it is installed."""


def farthest_point_sample(
    points: Float[Tensor, "batch points 3"], count: int, start: Int[Tensor, " batch"] | None = None
) -> Int[Tensor, "batch count"]:
    """Return indices of `count` points, each the farthest from those before it.

    Eldar et al., 1997; PointNet++, 2017, https://arxiv.org/abs/1706.02413.

    Args:
        points: finite coordinates.
        count: number of samples.
        start: index of the first sample of each point cloud. None uses the point farthest from the centroid, so that
            the result does not depend on the order of the points (except for ties).

    Raises:
        ShapeError: if there are fewer than `count` points.
    """
    total = points.shape[1]
    if not 1 <= count <= total:
        raise ShapeError(f"{count} samples requested of point clouds of {total} points; use 1 to {total}")
    if start is None:
        start = (points - points.mean(dim=1, keepdim=True)).square().sum(-1).argmax(dim=1)
    large = count * total >= MIN_COMPILED_DISTANCES
    if points.device.type == "cpu" and points.dtype == torch.float32 and large:
        with suppress(ModuleNotFoundError):
            return _fps_compiled(points, count, start)
    return fps_reference(points, count, start)


def fps_reference(
    points: Float[Tensor, "batch points 3"], count: int, start: Int[Tensor, " batch"]
) -> Int[Tensor, "batch count"]:
    """Return the same indices in plain PyTorch, for all point clouds at once."""
    batch, total = points.shape[:2]
    chosen = torch.empty(batch, count, dtype=torch.int64, device=points.device)
    nearest = torch.full((batch, total), torch.inf, dtype=points.dtype, device=points.device)
    rows, last = torch.arange(batch, device=points.device), start
    for index in range(count):
        chosen[:, index] = last
        distance = (points - points[rows, last][:, None]).square().sum(-1)
        nearest = torch.minimum(nearest, distance)
        last = nearest.argmax(dim=1)
    return chosen


def _fps_compiled(points: Tensor, count: int, start: Tensor) -> Tensor:
    """Sample with fpsample; its faster tree search is not used, because it chooses its own first point."""
    from fpsample import fps_sampling

    indices = [
        torch.from_numpy(fps_sampling(cloud.numpy(), count, start_idx=int(first)).astype("int64"))
        for cloud, first in zip(points.detach(), start, strict=True)
    ]
    return torch.stack(indices)


def gather_points(
    values: Float[Tensor, "batch points channels"], index: Int[Tensor, "batch ..."]
) -> Float[Tensor, "batch ... channels"]:
    """Return the values at `index`, which may have any number of axes after the first."""
    flat = index.flatten(1)
    gathered = values.gather(1, flat[..., None].expand(-1, -1, values.shape[-1]))
    return gathered.unflatten(1, index.shape[1:])
