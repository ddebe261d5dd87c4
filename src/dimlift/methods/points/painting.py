"""Painted points: what a frozen 2D network sees in posed pictures, laid onto the points they show. Nothing is trained.

    f(p) = mean over the views v that see p of F_v(project_v(p))

with F_v the network's last map of view v, read bilinearly. Features of 2D networks as inputs of a 3D network are old
practice (3DMV, Dai and Niessner, 2018, https://arxiv.org/abs/1803.10409; the mean over views as in OpenScene, Peng et
al., 2023, https://arxiv.org/abs/2211.15654). A view gives a point nothing where another surface hides it.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dimlift.errors import DataError, ShapeError
from dimlift.geometry.cameras import Camera, project, scaled, visible
from dimlift.geometry.views import read_at
from dimlift.methods.teachers.feature_maps import TeacherMaps


class PosedPicture(NamedTuple):
    """A picture and where it was taken from.

    Attributes:
        name: for messages.
        picture: values from 0 to 1.
        camera: of the picture's size; its pose in the frame and the unit of the points.
    """

    name: str
    picture: Float[Tensor, "3 height width"]
    camera: Camera


class Painted(NamedTuple):
    """Features of points.

    Attributes:
        features: mean over the views that see a point; 0 where none does.
        views: how many do.
    """

    features: Float[Tensor, "points channels"]
    views: Int[Tensor, " points"]


def paint(
    points: Float[Tensor, "points 3"],
    views: Iterable[PosedPicture],
    maps: TeacherMaps,
    *,
    tolerance: float = 0.05,
    cell: int = 4,
) -> Painted:
    """Features of every point, to be joined with any other of its features (`PointBatch.features`).

    Args:
        tolerance: share of its depth by which a point may lie behind the nearest surface of its cell.
        cell: what hides what is decided in cells of this many pixels; larger ones for sparser clouds, or points behind
            a wall show through it.

    Raises:
        ShapeError: if a picture is not of its camera's size.
        DataError: if no view sees any point.
    """
    seen = torch.zeros(len(points), dtype=torch.int64)
    total: Tensor | None = None
    names = []
    for view in views:
        names.append(view.name)
        size = tuple(view.picture.shape[1:])
        if size != tuple(view.camera.size):
            raise ShapeError(f"{view.name} has {size} pixels (height, width), its camera {view.camera.size}; scale one")
        rows = visible(points, scaled(view.camera, 1 / cell), tolerance).points
        if not len(rows):
            continue
        places, _ = project(points[rows], view.camera)
        across = places / places.new_tensor([size[1], size[0]]) * 2 - 1
        found = read_at(maps(view.picture[None]), across[None].float())[0]
        total = found.new_zeros(len(points), found.shape[1]) if total is None else total
        total.index_add_(0, rows, found)
        seen[rows] += 1
    if total is None:
        raise DataError(
            f"none of {len(names)} pictures shows any of {len(points)} points; poses must be camera-to-world (x right, "
            "y down, z forward), in the frame and the unit of the points"
        )
    return Painted(total / seen.clamp_min(1)[:, None], seen)
