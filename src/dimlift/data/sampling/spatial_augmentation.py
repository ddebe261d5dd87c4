"""Spatial augmentation: rotation, scaling and smooth deformation, combined into one sampling grid per patch.

Angles and factors act in millimetres, so an anisotropic volume is rotated and not sheared. Ranges and probabilities are
those of nnU-Net (Isensee et al., 2021, https://doi.org/10.1038/s41592-020-01008-z).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from monai.transforms.utils import create_rotate, create_scale
from torch import Tensor

from dimlift.data.preprocessing.interpolation import apply_separable, bspline_matrix

_ANISOTROPY = 3.0
"""Volumes whose slices are this many times thicker than their pixels are only rotated within slices."""

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class SpatialAugmentation:
    """Ranges and probabilities of spatial augmentation.

    Attributes:
        rotation: largest angle about each axis in degrees.
        scale: smallest and largest extent of the sampled region relative to the patch.
        elastic: largest displacement of a control point in units of the control point distance; up to 0.4 the
            deformation does not fold.
        elastic_intervals: intervals between control points along each side of the patch.
        *_probability: probability of each transform.
    """

    rotation: float = 30.0
    rotation_probability: float = 0.2
    scale: tuple[float, float] = (0.7, 1.4)
    scale_probability: float = 0.2
    elastic: float = 0.2
    elastic_probability: float = 0.1
    elastic_intervals: int = 4


@dataclass(frozen=True)
class SpatialTransform:
    """One sampled transform.

    Attributes:
        matrix: (3, 3), from millimetres in the patch to millimetres in the volume, relative to the patch centre.
        control: displacements of the control points in units of their distance, (3, n, n, n), or None.
    """

    matrix: Float[Tensor, "3 3"]
    control: Float[Tensor, "3 n n n"] | None


def sample_spatial_transform(
    rng: np.random.Generator, settings: SpatialAugmentation, spacing: tuple[float, float, float]
) -> SpatialTransform | None:
    """Sample a transform, or None for the identity, where the caller can slice instead of interpolate.

    Args:
        rng: random generator.
        settings: ranges and probabilities.
        spacing: (depth, height, width) in millimetres.
    """
    chances = rng.random(3)
    matrix = np.eye(3)
    in_plane = spacing[0] > _ANISOTROPY * max(spacing[1:])
    rotate = chances[0] < settings.rotation_probability
    scale = chances[1] < settings.scale_probability
    deform = chances[2] < settings.elastic_probability
    if rotate:
        angles = np.radians(rng.uniform(-settings.rotation, settings.rotation, size=3))
        angles[1:] *= not in_plane
        matrix = np.asarray(create_rotate(3, angles.tolist()))[:3, :3] @ matrix
    if scale:
        factor = math.exp(rng.uniform(*np.log(settings.scale)))
        matrix = np.asarray(create_scale(3, [1.0 if in_plane else factor, factor, factor]))[:3, :3] @ matrix
    control = None
    if deform:
        count = settings.elastic_intervals + 3
        displacements = rng.uniform(-settings.elastic, settings.elastic, size=(3, count, count, count))
        displacements[0] *= not in_plane
        control = torch.from_numpy(displacements).float()
    if not (rotate or scale or deform):
        return None
    return SpatialTransform(torch.from_numpy(matrix).float(), control)


def sampling_grid(
    transform: SpatialTransform, size: Shape, centre: tuple[float, float, float], spacing: tuple[float, float, float]
) -> Float[Tensor, "D H W 3"]:
    """Return the position in the volume of each voxel of a patch, as (z, y, x) voxel indices.

    Args:
        transform: the transform.
        size: size of the patch.
        centre: centre of the patch as a voxel index of the volume.
        spacing: spacing of the volume in millimetres.
    """
    step = torch.tensor(spacing)
    matrix = transform.matrix * step / step[:, None]  # millimetres to voxels on both sides
    offsets = [torch.arange(count) - (count - 1) / 2 for count in size]
    grid = torch.tensor(centre) + sum(
        (offset.view([-1 if axis == other else 1 for other in range(3)] + [1]) * matrix[:, axis])
        for axis, offset in enumerate(offsets)
    )
    if transform.control is None:
        return grid
    intervals = transform.control.shape[1] - 3
    bases = [bspline_matrix((torch.arange(count) + 0.5) * intervals / count, intervals) for count in size]
    displacements = apply_separable(transform.control, *bases).permute(1, 2, 3, 0)
    return grid + displacements * torch.tensor([count / intervals for count in size])
