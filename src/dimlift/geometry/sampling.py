"""Farthest point sampling: points spread over a cloud, each the farthest from those before it."""

from contextlib import suppress

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dimlift.errors import ShapeError

COMPILED_FROM = 2**22
"""Distances (points times samples) from which fpsample is asked on the processor, where it is installed."""


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
    total = points.shape[1]
    if not 1 <= count <= total:
        raise ShapeError(f"{count} points to be sampled from clouds of {total}; ask for 1 to {total}")
    if start is None:
        start = (points - points.mean(dim=1, keepdim=True)).square().sum(-1).argmax(dim=1)
    if points.device.type == "cpu" and points.dtype == torch.float32 and count * total >= COMPILED_FROM:
        with suppress(ModuleNotFoundError):
            return _compiled(points, count, start)
    return one_after_another(points, count, start)


def one_after_another(
    points: Float[Tensor, "batch points 3"], count: int, start: Int[Tensor, " batch"]
) -> Int[Tensor, "batch count"]:
    """The same in plain torch, all clouds at once."""
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


def _compiled(points: Tensor, count: int, start: Tensor) -> Tensor:
    """One cloud after the other through fpsample. Its faster tree search begins at a point of its own: not taken."""
    from fpsample import fps_sampling

    found = [
        torch.from_numpy(fps_sampling(cloud.numpy(), count, start_idx=int(first)).astype("int64"))
        for cloud, first in zip(points.detach(), start, strict=True)
    ]
    return torch.stack(found)


def gather_points(
    values: Float[Tensor, "batch points channels"], index: Int[Tensor, "batch ..."]
) -> Float[Tensor, "batch ... channels"]:
    """Values of chosen points: `index` may have any number of axes behind the first."""
    flat = index.flatten(1)
    found = values.gather(1, flat[..., None].expand(-1, -1, values.shape[-1]))
    return found.unflatten(1, index.shape[1:])
