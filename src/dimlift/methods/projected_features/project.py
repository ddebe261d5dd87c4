"""Image features projected onto points: features of a frozen 2D network from posed images. Nothing is trained.

    f(p) = mean over the views v that see p of F_v(project_v(p))

with F_v the network's last map of view v, sampled bilinearly. Image features as inputs of 3D networks are established
(3DMV, Dai and Niessner, 2018, https://arxiv.org/abs/1803.10409; the mean over views as in OpenScene, Peng et al.,
2023, https://arxiv.org/abs/2211.15654). A view contributes nothing to a point that another surface occludes.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dimlift.errors import DataError, ShapeError
from dimlift.geometry.cameras import Camera, compute_visibility, project, scale_camera
from dimlift.geometry.views import sample_at
from dimlift.methods.teachers.feature_maps import CachedFeatureMaps


class PosedImage(NamedTuple):
    """An image and its camera.

    Attributes:
        name: for messages.
        image: values from 0 to 1.
        camera: of the image's size; its pose in the frame and the unit of the points.
    """

    name: str
    image: Float[Tensor, "3 height width"]
    camera: Camera


class PointFeatures(NamedTuple):
    """Projected features of points.

    Attributes:
        features: mean over the views that see a point; 0 if there is none.
        views: number of views that see each point.
    """

    features: Float[Tensor, "points channels"]
    views: Int[Tensor, " points"]


def project_image_features(
    points: Float[Tensor, "points 3"],
    views: Iterable[PosedImage],
    maps: CachedFeatureMaps,
    *,
    tolerance: float = 0.05,
    occlusion_cell: int = 4,
) -> PointFeatures:
    """Project image features onto points, as additional `PointBatch.features`.

    Args:
        tolerance: fraction of its depth by which a point may lie behind the nearest surface of its cell.
        occlusion_cell: pixels of the cells in which occlusion is decided; sparse point clouds need larger cells, or
            points behind a wall are visible through it.

    Raises:
        ShapeError: if an image does not have its camera's size.
        DataError: if no view sees any point.
    """
    counts = torch.zeros(len(points), dtype=torch.int64)
    total: Tensor | None = None
    num_views = 0
    for view in views:
        num_views += 1
        size = tuple(view.image.shape[1:])
        if size != tuple(view.camera.size):
            raise ShapeError(f"{view.name} has {size} pixels (height, width), its camera {view.camera.size}; scale one")
        rows = compute_visibility(points, scale_camera(view.camera, 1 / occlusion_cell), tolerance).points
        if not len(rows):
            continue
        pixels, _ = project(points[rows], view.camera)
        uv = pixels / pixels.new_tensor([size[1], size[0]]) * 2 - 1
        features = sample_at(maps(view.image[None]), uv[None].float())[0]
        total = features.new_zeros(len(points), features.shape[1]) if total is None else total
        total.index_add_(0, rows, features)
        counts[rows] += 1
    if total is None:
        raise DataError(
            f"none of {num_views} images shows any of {len(points)} points; poses must be camera-to-world (x right, "
            "y down, z forward), in the frame and the unit of the points"
        )
    return PointFeatures(total / counts.clamp_min(1)[:, None], counts)
