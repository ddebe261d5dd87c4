"""Random rotation, scaling and smooth deformation, drawn once per item and laid out as one sampling grid.

Angles and factors act in millimetres, so an anisotropic volume is turned, not sheared. The ranges and probabilities are
nnU-Net's (Isensee et al., 2021, https://doi.org/10.1038/s41592-020-01008-z).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from monai.transforms.utils import create_rotate, create_scale
from torch import Tensor

from dimlift.data.preprocessing.interpolation import bspline_matrix, separable

_THICK = 3.0
"""Volumes whose slices are this many times thicker than their pixels are only turned within their slices."""

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class WarpSettings:
    """How much the space around a patch may change.

    Attributes:
        rotation: largest angle about each axis, in degrees.
        scale: smallest and largest size of what is seen, relative to the patch.
        elastic: largest displacement of a control point, in shares of the distance between two; to 0.4 nothing folds.
        elastic_intervals: intervals between control points along each side of the patch.
        *_probability: how often.
    """

    rotation: float = 30.0
    rotation_probability: float = 0.2
    scale: tuple[float, float] = (0.7, 1.4)
    scale_probability: float = 0.2
    elastic: float = 0.2
    elastic_probability: float = 0.1
    elastic_intervals: int = 4


@dataclass(frozen=True)
class Warp:
    """One drawn change of space.

    Attributes:
        matrix: (3, 3), from millimetres in the patch to millimetres in the volume, both from the patch's centre.
        control: displacements of the control points in shares of their distance, (3, n, n, n), or None.
    """

    matrix: Float[Tensor, "3 3"]
    control: Float[Tensor, "3 n n n"] | None


def draw_warp(rng: np.random.Generator, settings: WarpSettings, spacing: tuple[float, float, float]) -> Warp | None:
    """Draw one warp, or None if chance wants none, so that the caller can simply slice.

    Args:
        spacing: (depth, height, width) in millimetres.
    """
    chances = rng.random(3)
    matrix = np.eye(3)
    flat = spacing[0] > _THICK * max(spacing[1:])
    turned = chances[0] < settings.rotation_probability
    scaled = chances[1] < settings.scale_probability
    bent = chances[2] < settings.elastic_probability
    if turned:
        angles = np.radians(rng.uniform(-settings.rotation, settings.rotation, size=3))
        angles[1:] *= not flat
        matrix = np.asarray(create_rotate(3, angles.tolist()))[:3, :3] @ matrix
    if scaled:
        factor = math.exp(rng.uniform(*np.log(settings.scale)))
        matrix = np.asarray(create_scale(3, [1.0 if flat else factor, factor, factor]))[:3, :3] @ matrix
    control = None
    if bent:
        count = settings.elastic_intervals + 3
        moves = rng.uniform(-settings.elastic, settings.elastic, size=(3, count, count, count))
        moves[0] *= not flat
        control = torch.from_numpy(moves).float()
    if not (turned or scaled or bent):
        return None
    return Warp(torch.from_numpy(matrix).float(), control)


def sampling_grid(
    warp: Warp, size: Shape, centre: tuple[float, float, float], spacing: tuple[float, float, float]
) -> Float[Tensor, "D H W 3"]:
    """Where each voxel of a patch is read in the volume, as (z, y, x) voxel indices.

    Args:
        size: of the patch.
        centre: of the patch, as a voxel index of the volume.
        spacing: of the volume, in millimetres.
    """
    step = torch.tensor(spacing)
    matrix = warp.matrix * step / step[:, None]  # millimetres to voxels on both sides
    offsets = [torch.arange(count) - (count - 1) / 2 for count in size]
    grid = torch.tensor(centre) + sum(
        (offset.view([-1 if axis == other else 1 for other in range(3)] + [1]) * matrix[:, axis])
        for axis, offset in enumerate(offsets)
    )
    if warp.control is None:
        return grid
    intervals = warp.control.shape[1] - 3
    bases = [bspline_matrix((torch.arange(count) + 0.5) * intervals / count, intervals) for count in size]
    moves = separable(warp.control, *bases).permute(1, 2, 3, 0)
    return grid + moves * torch.tensor([count / intervals for count in size])
