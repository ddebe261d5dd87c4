"""Pinhole cameras: points to pixels, depth images to points, and which points a view really sees."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dimlift.errors import ShapeError


class Camera(NamedTuple):
    """A pinhole camera. Pixel centres lie at +0.5; depth runs along the optical axis.

    Attributes:
        intrinsics: (3, 3), in pixels.
        pose: (4, 4), camera to world: x right, y down, z forward.
        size: (height, width) of its images.
    """

    intrinsics: Float[Tensor, "3 3"]
    pose: Float[Tensor, "4 4"]
    size: tuple[int, int]


def pinhole(focal: float, size: tuple[int, int], centre: tuple[float, float] | None = None) -> Float[Tensor, "3 3"]:
    """Intrinsics of one focal length, (x, y) of the principal point in the middle if not told."""
    x, y = centre or (size[1] / 2, size[0] / 2)
    return torch.tensor([[focal, 0.0, x], [0.0, focal, y], [0.0, 0.0, 1.0]], dtype=torch.float64)


def scaled(camera: Camera, factor: float) -> Camera:
    """The same look in a picture `factor` times as large; a last cell that is cut off is kept whole."""
    intrinsics = camera.intrinsics.clone()
    intrinsics[:2] *= factor
    height, width = (max(1, math.ceil(side * factor - 1e-9)) for side in camera.size)
    return Camera(intrinsics, camera.pose, (height, width))


def project(
    points: Float[Tensor, "points 3"], camera: Camera
) -> tuple[Float[Tensor, "points 2"], Float[Tensor, " points"]]:
    """(x, y) in pixels and depth of world points; a depth of 0 or less lies behind the camera.

    The pixel a point falls into is floor(x), floor(y).
    """
    rotation, place = camera.pose[:3, :3].to(points), camera.pose[:3, 3].to(points)
    local = (points - place) @ rotation  # the inverse of an orthonormal matrix is its transpose
    depth = local[:, 2]
    intrinsics = camera.intrinsics.to(points)
    safe = torch.where(depth > 0, depth, torch.ones_like(depth))
    return (local / safe[:, None] @ intrinsics.T)[:, :2], depth


def back_project(
    depth: Float[Tensor, "height width"], camera: Camera
) -> tuple[Float[Tensor, "points 3"], Int[Tensor, " points"]]:
    """World points of a depth image, and the pixel (row * width + column) of each. Depth 0 or not finite is no point.

    Raises:
        ShapeError: if the image is not of the camera's size.
    """
    if tuple(depth.shape) != tuple(camera.size):
        raise ShapeError(f"a depth image of {tuple(depth.shape)} for a camera of {tuple(camera.size)}; scale one")
    pixels = (torch.isfinite(depth) & (depth > 0)).flatten().nonzero().squeeze(1)
    rows, columns = pixels // depth.shape[1], pixels % depth.shape[1]
    values = depth.flatten()[pixels]
    ones = torch.ones_like(values)
    rays = torch.stack([columns + 0.5, rows + 0.5, ones], 1).to(values) @ torch.linalg.inv(camera.intrinsics).T.to(
        values
    )
    local = rays * values[:, None]
    return local @ camera.pose[:3, :3].T.to(values) + camera.pose[:3, 3].to(values), pixels


class Sight(NamedTuple):
    """What a view sees of a cloud.

    Attributes:
        points: indices of the points it sees.
        pixels: row * width + column of each.
        depths: of each, along the optical axis.
    """

    points: Int[Tensor, " seen"]
    pixels: Int[Tensor, " seen"]
    depths: Float[Tensor, " seen"]


def visible(
    points: Float[Tensor, "points 3"],
    camera: Camera,
    tolerance: float = 0.05,
    depth: Float[Tensor, "height width"] | None = None,
    near: float = 1e-3,
) -> Sight:
    """Points inside the image that nothing hides.

    Args:
        tolerance: a point may lie this share of its depth behind the nearest surface of its pixel.
        depth: a depth image of the same camera to compare with; without it a z-buffer of the cloud itself, which
            sees through surfaces that are sampled more thinly than its pixels.
        near: points nearer than this are not seen.
    """
    height, width = camera.size
    places, depths = project(points, camera)
    columns, rows = torch.floor(places).long().unbind(1)
    inside = (depths > near) & (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    index = inside.nonzero().squeeze(1)
    pixels, depths = (rows * width + columns)[index], depths[index]
    surface = z_buffer(pixels, depths, height * width) if depth is None else depth.flatten().to(depths)
    ahead = surface[pixels]
    seen = front(ahead, depths, tolerance)
    return Sight(index[seen], pixels[seen], depths[seen])


def front(surface: Float[Tensor, " n"], depths: Float[Tensor, " n"], tolerance: float) -> Bool[Tensor, " n"]:
    """Which depths do not lie behind a surface; where the surface is unknown (0 or not finite), nothing is seen."""
    known = torch.isfinite(surface) & (surface > 0)
    return known & (depths <= surface * (1 + tolerance))


def z_buffer(pixels: Int[Tensor, " points"], depths: Float[Tensor, " points"], count: int) -> Float[Tensor, " count"]:
    """Smallest depth that falls into each pixel; infinite where none does."""
    empty = torch.full((count,), torch.inf, dtype=depths.dtype, device=depths.device)
    return empty.scatter_reduce(0, pixels, depths, reduce="amin")
