"""Pinhole cameras: projection, back-projection of depth images, and visibility of points."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dimlift.errors import ShapeError


class Camera(NamedTuple):
    """A pinhole camera. Pixel centres are at +0.5; depth is along the optical axis.

    Attributes:
        intrinsics: (3, 3), in pixels.
        pose: (4, 4), camera to world: x right, y down, z forward.
        size: (height, width) of its images.
    """

    intrinsics: Float[Tensor, "3 3"]
    pose: Float[Tensor, "4 4"]
    size: tuple[int, int]


def pinhole(focal: float, size: tuple[int, int], centre: tuple[float, float] | None = None) -> Float[Tensor, "3 3"]:
    """Return intrinsics with one focal length; the principal point (x, y) is the image centre if None."""
    x, y = centre or (size[1] / 2, size[0] / 2)
    return torch.tensor([[focal, 0.0, x], [0.0, focal, y], [0.0, 0.0, 1.0]], dtype=torch.float64)


def scale_camera(camera: Camera, factor: float) -> Camera:
    """Return the camera of an image resized by `factor`; a partial last pixel counts as a whole one."""
    intrinsics = camera.intrinsics.clone()
    intrinsics[:2] *= factor
    height, width = (max(1, math.ceil(side * factor - 1e-9)) for side in camera.size)
    return Camera(intrinsics, camera.pose, (height, width))


def project(
    points: Float[Tensor, "points 3"], camera: Camera
) -> tuple[Float[Tensor, "points 2"], Float[Tensor, " points"]]:
    """Return (x, y) in pixels and depth of world points; depths of 0 or less are behind the camera.

    The pixel of a point is floor(x), floor(y).
    """
    rotation, position = camera.pose[:3, :3].to(points), camera.pose[:3, 3].to(points)
    local = (points - position) @ rotation  # the inverse of an orthonormal matrix is its transpose
    depth = local[:, 2]
    intrinsics = camera.intrinsics.to(points)
    safe = torch.where(depth > 0, depth, torch.ones_like(depth))
    return (local / safe[:, None] @ intrinsics.T)[:, :2], depth


def back_project(
    depth: Float[Tensor, "height width"], camera: Camera
) -> tuple[Float[Tensor, "points 3"], Int[Tensor, " points"]]:
    """Return world points of a depth image and the pixel (row * width + column) of each.

    Pixels with depth 0 or a depth that is not finite have no point.

    Raises:
        ShapeError: if the size of the image is not that of the camera.
    """
    if tuple(depth.shape) != tuple(camera.size):
        raise ShapeError(f"a depth image of {tuple(depth.shape)} for a camera of {tuple(camera.size)}; resize one")
    pixels = (torch.isfinite(depth) & (depth > 0)).flatten().nonzero().squeeze(1)
    rows, columns = pixels // depth.shape[1], pixels % depth.shape[1]
    values = depth.flatten()[pixels]
    ones = torch.ones_like(values)
    rays = torch.stack([columns + 0.5, rows + 0.5, ones], 1).to(values) @ torch.linalg.inv(camera.intrinsics).T.to(
        values
    )
    local = rays * values[:, None]
    return local @ camera.pose[:3, :3].T.to(values) + camera.pose[:3, 3].to(values), pixels


class Visibility(NamedTuple):
    """The points of a point cloud that a camera sees.

    Attributes:
        points: indices of the visible points.
        pixels: row * width + column of each.
        depths: depth of each along the optical axis.
    """

    points: Int[Tensor, " visible"]
    pixels: Int[Tensor, " visible"]
    depths: Float[Tensor, " visible"]


def compute_visibility(
    points: Float[Tensor, "points 3"],
    camera: Camera,
    tolerance: float = 0.05,
    depth: Float[Tensor, "height width"] | None = None,
    near: float = 1e-3,
) -> Visibility:
    """Return the points inside the image that are not occluded.

    Args:
        points: world coordinates.
        camera: the camera.
        tolerance: fraction of its depth by which a point may be behind the nearest surface of its pixel.
        depth: a depth image of this camera. Without it a z-buffer of the points themselves is used, which has holes in
            surfaces that are sampled more sparsely than the pixels.
        near: points closer than this are not visible.
    """
    height, width = camera.size
    positions, depths = project(points, camera)
    columns, rows = torch.floor(positions).long().unbind(1)
    inside = (depths > near) & (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    index = inside.nonzero().squeeze(1)
    pixels, depths = (rows * width + columns)[index], depths[index]
    surface = z_buffer(pixels, depths, height * width) if depth is None else depth.flatten().to(depths)
    visible = in_front(surface[pixels], depths, tolerance)
    return Visibility(index[visible], pixels[visible], depths[visible])


def in_front(surface: Float[Tensor, " n"], depths: Float[Tensor, " n"], tolerance: float) -> Bool[Tensor, " n"]:
    """Return which depths are not behind the surface; False where the surface is unknown (0 or not finite)."""
    known = torch.isfinite(surface) & (surface > 0)
    return known & (depths <= surface * (1 + tolerance))


def z_buffer(pixels: Int[Tensor, " points"], depths: Float[Tensor, " points"], count: int) -> Float[Tensor, " count"]:
    """Return the smallest depth in each of `count` pixels; infinite in empty ones."""
    empty = torch.full((count,), torch.inf, dtype=depths.dtype, device=depths.device)
    return empty.scatter_reduce(0, pixels, depths, reduce="amin")
