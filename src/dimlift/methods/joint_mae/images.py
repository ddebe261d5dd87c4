"""Depth images of point clouds, cut into patches."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dimlift.geometry.views import camera_view, project_to_view
from dimlift.methods.point_pretraining.depth_images import depth_to_grey, sample_rotations

PATCH = 16
"""Height and width of an image patch, in pixels."""


class DepthImage(NamedTuple):
    """A depth image of each point cloud.

    Attributes:
        patches: pixels of each patch; the nearest point is 1, the farthest 0.5, background 0.
        rotation: rotation of the point cloud before rendering.
        image: the same pixels as an image.
    """

    patches: Float[Tensor, "batch patches pixels"]
    rotation: Float[Tensor, "batch 3 3"]
    image: Float[Tensor, "batch 1 size size"]


def render_depth_images(points: Float[Tensor, "batch points 3"], size: int) -> DepthImage:
    """Render each point cloud from a random side.

    Args:
        size: height and width, a multiple of `PATCH`.
    """
    rotation = sample_rotations(points)
    grey = depth_to_grey(camera_view(points, rotation, size).depth)
    grid = size // PATCH
    patches = grey.unflatten(1, (grid, PATCH)).unflatten(3, (grid, PATCH))
    return DepthImage(patches.transpose(2, 3).flatten(3).flatten(1, 2), rotation, grey[:, None])


def image_patch_embedding(width: int) -> nn.Module:
    """Build the embedding of patches (batch, 1, PATCH, PATCH); no kernel reaches across patches."""
    quarter, half = width // 4, width // 2
    return nn.Sequential(
        nn.Conv2d(1, quarter, 4, 4),
        nn.GELU(),
        nn.Conv2d(quarter, half, 2, 2),
        nn.GELU(),
        nn.Conv2d(half, width, 2, 2),
    )


def local_attention_mask(
    centres: Float[Tensor, "batch visible 3"],
    patches: Tensor,
    rotation: Float[Tensor, "batch 3 3"],
    size: int,
    radius: float,
) -> Bool[Tensor, "batch tokens tokens"]:
    """Mask attention between point tokens and image tokens that are far apart in the image.

    Args:
        centres: of the point tokens.
        patches: indices of the image tokens' patches, (batch, visible).
        rotation: of the rendered point cloud.
        size: height and width of the image, in pixels.
        radius: largest distance at which tokens attend to each other, in half widths of the image.

    Returns:
        True where a token (row) must not attend to another (column); point tokens first.
    """
    grid = size // PATCH
    uv = project_to_view(centres, rotation, size)[0] / size * 2 - 1
    columns, rows = patches % grid, patches // grid
    patch_uv = (torch.stack([columns, rows], dim=-1).to(uv) + 0.5) / grid * 2 - 1
    far = torch.cdist(uv, patch_uv) > radius
    count = centres.shape[1]
    mask = torch.zeros(len(far), sum(far.shape[1:]), sum(far.shape[1:]), dtype=torch.bool, device=far.device)
    mask[:, :count, count:], mask[:, count:, :count] = far, far.transpose(1, 2)
    return mask


def cross_reconstruction_loss(
    predicted: Float[Tensor, "batch some 3"], points: Float[Tensor, "batch points 3"], rendered: DepthImage
) -> Float[Tensor, ""]:
    """Compare the depth of predicted points with the grey value of the image where they project."""
    size = rendered.image.shape[-1]
    pixels, depth = project_to_view(predicted, rendered.rotation, size)
    reference = project_to_view(points, rendered.rotation, size)[1]
    near, far = reference.amin(1, keepdim=True), reference.amax(1, keepdim=True)
    expected = depth_to_grey(1 + (depth - near) / (far - near).clamp_min(1e-9))
    uv = (pixels / size * 2 - 1)[:, None]
    grey = F.grid_sample(rendered.image, uv, padding_mode="border", align_corners=False)[:, 0, 0]
    return F.mse_loss(expected, grey)
