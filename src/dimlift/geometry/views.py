"""Depth pictures of a cloud, as if seen from outside: along the axes or from a camera, soft enough to have no holes."""

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from dimlift.errors import ShapeError

AXES: tuple[tuple[int, int, int], ...] = ((0, 1, 2), (2, 0, 1), (1, 2, 0))
"""(across, down, depth) of the three axis-aligned views: (x, y | z), (z, x | y), (y, z | x)."""


class View(NamedTuple):
    """Clouds seen from one side.

    Attributes:
        depth: pictures, 0 where there is nothing, else above 0: 1 is nearest, 2 farthest.
        places: (x, y) of each point in the picture, from -1 to 1, as `grid_sample` with align_corners=False reads.
    """

    depth: Float[Tensor, "batch height width"]
    places: Float[Tensor, "batch points 2"]


def axis_view(
    points: Float[Tensor, "batch points 3"], view: int, size: int = 224, stamp: int = 5, margin: int = 3
) -> View:
    """Parallel projection along one of the three axes; each cloud is scaled to fill the picture.

    Args:
        view: 0, 1 or 2 of `AXES`.
        size: height and width in pixels.
        stamp: each point is drawn as a square of this many pixels, an odd number.
        margin: pixels left free around the cloud.

    Raises:
        ShapeError: if the stamp is even or the picture smaller than its margin.
    """
    across, down, along = AXES[view]
    flat = points[..., [across, down]]
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    span = (high - low).amax(-1, keepdim=True).clamp_min(1e-9)  # one scale for both axes: shapes keep their shape
    drawn = size - 2 * margin - (stamp - 1)
    if drawn < 1:
        raise ShapeError(f"a picture of {size} pixels leaves nothing inside its margin; take a larger one")
    pixels = (flat - (low + high) / 2) / span * drawn + size / 2
    nearest = points[..., along].amin(1, keepdim=True)
    return _drawn(pixels, points[..., along] - nearest, size, stamp)


def camera_view(
    points: Float[Tensor, "batch points 3"],
    rotation: Float[Tensor, "batch 3 3"],
    size: int = 224,
    distance: float = 2.2,
    stamp: int = 5,
) -> View:
    """Perspective projection of clouds that fit into the unit ball, turned first, seen from `distance` away."""
    pixels, depth = from_camera(points, rotation, size, distance)
    return _drawn(pixels, depth - depth.amin(1, keepdim=True), size, stamp)


def from_camera(
    points: Float[Tensor, "batch points 3"], rotation: Float[Tensor, "batch 3 3"], size: int, distance: float = 2.2
) -> tuple[Float[Tensor, "batch points 2"], Float[Tensor, "batch points"]]:
    """(x, y) in pixels of points in the picture of `camera_view`, and how far away they are."""
    turned = points @ rotation.transpose(1, 2)
    depth = turned[..., 2] + distance
    focal = size / 2 * math.sqrt(max(distance**2 - 1, 1e-3)) * 0.95  # the unit ball just fits
    return turned[..., :2] / depth[..., None] * focal + size / 2, depth


def random_rotations(
    count: int, generator: torch.Generator, kind: Literal["any", "upright"] = "any"
) -> Float[Tensor, "count 3 3"]:
    """Rotations drawn evenly: of all there are, or about the second axis."""
    if kind == "upright":
        angle = torch.rand(count, generator=generator) * 2 * math.pi
        cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros(count), torch.ones(count)
        return torch.stack([cos, zero, sin, zero, one, zero, -sin, zero, cos], 1).view(count, 3, 3)
    q = torch.randn(count, 4, generator=generator)  # unit quaternions, evenly over the sphere (Shoemake, 1992)
    w, x, y, z = (q / q.norm(dim=1, keepdim=True)).unbind(1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, 1).view(count, 3, 3)


def _drawn(
    pixels: Float[Tensor, "batch points 2"], depth: Float[Tensor, "batch points"], size: int, stamp: int
) -> View:
    """Stamp every point; where several fall on a pixel the nearest wins. Nearest is 1, farthest 2, nothing 0."""
    if stamp < 1 or stamp % 2 == 0:
        raise ShapeError(f"a stamp of {stamp} pixels; give an odd number")
    batch = len(pixels)
    scaled = 1 + depth / depth.amax(1, keepdim=True).clamp_min(1e-9)
    reach = torch.arange(stamp, device=pixels.device) - stamp // 2
    dy, dx = (each.flatten() for each in torch.meshgrid(reach, reach, indexing="ij"))
    columns = torch.floor(pixels[..., 0]).long()[..., None] + dx
    rows = torch.floor(pixels[..., 1]).long()[..., None] + dy
    inside = (columns >= 0) & (columns < size) & (rows >= 0) & (rows < size)
    index = torch.where(inside, rows * size + columns, size * size)  # one cell more takes what falls outside
    values = scaled[..., None].expand_as(index)
    canvas = torch.full((batch, size * size + 1), torch.inf, dtype=depth.dtype, device=depth.device)
    canvas = canvas.scatter_reduce(1, index.flatten(1), values.flatten(1), reduce="amin")[:, :-1]
    picture = torch.where(torch.isinf(canvas), 0.0, canvas).view(batch, size, size)
    return View(picture, pixels / size * 2 - 1)


def read_at(
    maps: Float[Tensor, "batch channels h w"], places: Float[Tensor, "batch points 2"], mode: str = "bilinear"
) -> Float[Tensor, "batch points channels"]:
    """Values of maps at the places of points: 0.27 GB where upsampled maps of 512 channels would take 6.6."""
    found = torch.nn.functional.grid_sample(
        maps, places[:, None].to(maps), mode=mode, padding_mode="border", align_corners=False
    )
    return found[:, :, 0].transpose(1, 2)
