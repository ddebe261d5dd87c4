"""Depth images of point clouds, along an axis or from a camera, with splats large enough to avoid holes."""

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from dimlift.errors import ShapeError

AXES: tuple[tuple[int, int, int], ...] = ((0, 1, 2), (2, 0, 1), (1, 2, 0))
"""(across, down, depth) of the three axis-aligned views: (x, y | z), (z, x | y), (y, z | x)."""


class View(NamedTuple):
    """Depth images of a batch of point clouds.

    Attributes:
        depth: 0 for background, else from 1 (nearest) to 2 (farthest).
        uv: (x, y) of each point in the image, from -1 to 1, as in `grid_sample` with align_corners=False.
    """

    depth: Float[Tensor, "batch height width"]
    uv: Float[Tensor, "batch points 2"]


def axis_view(
    points: Float[Tensor, "batch points 3"], view: int, size: int = 224, splat_size: int = 5, margin: int = 3
) -> View:
    """Render a parallel projection along an axis; each point cloud is scaled to fill the image.

    Args:
        points: coordinates.
        view: 0, 1 or 2, index into `AXES`.
        size: height and width in pixels.
        splat_size: side of the square drawn for each point in pixels, an odd number.
        margin: empty pixels around the point cloud.

    Raises:
        ShapeError: if the splat size is even, or the image is smaller than its margin.
    """
    across, down, along = AXES[view]
    flat = points[..., [across, down]]
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    span = (high - low).amax(-1, keepdim=True).clamp_min(1e-9)  # one scale for both axes keeps the aspect ratio
    extent = size - 2 * margin - (splat_size - 1)
    if extent < 1:
        raise ShapeError(f"an image of {size} pixels is smaller than its margin; use a larger size")
    pixels = (flat - (low + high) / 2) / span * extent + size / 2
    nearest = points[..., along].amin(1, keepdim=True)
    return _splat(pixels, points[..., along] - nearest, size, splat_size)


def camera_view(
    points: Float[Tensor, "batch points 3"],
    rotation: Float[Tensor, "batch 3 3"],
    size: int = 224,
    distance: float = 2.2,
    splat_size: int = 5,
) -> View:
    """Render a perspective projection of point clouds in the unit sphere, rotated first, from `distance`."""
    pixels, depth = project_to_view(points, rotation, size, distance)
    return _splat(pixels, depth - depth.amin(1, keepdim=True), size, splat_size)


def project_to_view(
    points: Float[Tensor, "batch points 3"], rotation: Float[Tensor, "batch 3 3"], size: int, distance: float = 2.2
) -> tuple[Float[Tensor, "batch points 2"], Float[Tensor, "batch points"]]:
    """Return (x, y) in pixels of points in the image of `camera_view`, and their depths."""
    rotated = points @ rotation.transpose(1, 2)
    depth = rotated[..., 2] + distance
    focal = size / 2 * math.sqrt(max(distance**2 - 1, 1e-3)) * 0.95  # the unit sphere fits into the image
    return rotated[..., :2] / depth[..., None] * focal + size / 2, depth


def random_rotations(
    count: int, generator: torch.Generator, kind: Literal["any", "upright"] = "any"
) -> Float[Tensor, "count 3 3"]:
    """Return uniformly distributed rotations, or rotations about the second axis ("upright")."""
    if kind == "upright":
        angle = torch.rand(count, generator=generator) * 2 * math.pi
        cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros(count), torch.ones(count)
        return torch.stack([cos, zero, sin, zero, one, zero, -sin, zero, cos], 1).view(count, 3, 3)
    q = torch.randn(count, 4, generator=generator)  # uniform unit quaternions (Shoemake, 1992)
    w, x, y, z = (q / q.norm(dim=1, keepdim=True)).unbind(1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, 1).view(count, 3, 3)


def _splat(
    pixels: Float[Tensor, "batch points 2"], depth: Float[Tensor, "batch points"], size: int, splat_size: int
) -> View:
    """Draw a square for every point; the nearest point per pixel wins."""
    if splat_size < 1 or splat_size % 2 == 0:
        raise ShapeError(f"splat_size is {splat_size}; use an odd number")
    batch = len(pixels)
    scaled = 1 + depth / depth.amax(1, keepdim=True).clamp_min(1e-9)
    offsets = torch.arange(splat_size, device=pixels.device) - splat_size // 2
    dy, dx = (each.flatten() for each in torch.meshgrid(offsets, offsets, indexing="ij"))
    columns = torch.floor(pixels[..., 0]).long()[..., None] + dx
    rows = torch.floor(pixels[..., 1]).long()[..., None] + dy
    inside = (columns >= 0) & (columns < size) & (rows >= 0) & (rows < size)
    index = torch.where(inside, rows * size + columns, size * size)  # one extra element collects what is outside
    values = scaled[..., None].expand_as(index)
    canvas = torch.full((batch, size * size + 1), torch.inf, dtype=depth.dtype, device=depth.device)
    canvas = canvas.scatter_reduce(1, index.flatten(1), values.flatten(1), reduce="amin")[:, :-1]
    image = torch.where(torch.isinf(canvas), 0.0, canvas).view(batch, size, size)
    return View(image, pixels / size * 2 - 1)


def sample_at(
    maps: Float[Tensor, "batch channels h w"], uv: Float[Tensor, "batch points 2"], mode: str = "bilinear"
) -> Float[Tensor, "batch points channels"]:
    """Sample feature maps at points, which takes 0.27 GB where upsampled maps of 512 channels would take 6.6 GB."""
    sampled = torch.nn.functional.grid_sample(
        maps, uv[:, None].to(maps), mode=mode, padding_mode="border", align_corners=False
    )
    return sampled[:, :, 0].transpose(1, 2)
