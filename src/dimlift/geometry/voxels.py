"""Voxelisation of points."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dimlift.errors import ShapeError


class Voxels(NamedTuple):
    """Occupied voxels of one or more point clouds.

    Attributes:
        coordinates: unique integer rows (batch, x, y, z), sorted by batch, then x, y, z.
        inverse: row of the voxel of each point.
        counts: number of points in each voxel.
    """

    coordinates: Int[Tensor, "voxels 4"]
    inverse: Int[Tensor, " points"]
    counts: Int[Tensor, " voxels"]

    def mean(self, values: Float[Tensor, "points channels"]) -> Float[Tensor, "voxels channels"]:
        """Return the mean of the values of each voxel's points."""
        summed = values.new_zeros(len(self.counts), values.shape[1]).index_add(0, self.inverse, values)
        return summed / self.counts[:, None]


def voxelise(points: Float[Tensor, "points 3"], size: float, batch: Int[Tensor, " points"] | None = None) -> Voxels:
    """Return the occupied voxels of a grid; voxel 0 begins at coordinate 0.

    Args:
        points: coordinates of all point clouds.
        size: edge of a voxel in the unit of the points.
        batch: index of the point cloud of each point; None for a single one.

    Raises:
        ShapeError: if a coordinate is not finite, or there are more voxels than an int64 key can number.
    """
    if size <= 0:
        raise ShapeError(f"the voxel size is {size}; use one above 0")
    if not torch.isfinite(points).all():
        raise ShapeError("a point has a coordinate that is NaN or infinite; remove such points")
    cells = torch.floor(points.double() / size).long()
    batch = torch.zeros(len(points), dtype=torch.int64, device=points.device) if batch is None else batch
    if len(points) == 0:
        empty = cells.new_zeros(0)
        return Voxels(cells.new_zeros(0, 4), empty, empty)
    low = cells.amin(0)
    spans = tuple(int(span) + 1 for span in cells.amax(0) - low)
    if (int(batch.max()) + 1) * spans[0] * spans[1] * spans[2] >= 2**63:
        raise ShapeError(f"the points span {spans} voxels of size {size}, which is too many; use larger voxels")
    keys = encode_keys(torch.cat([batch[:, None], cells - low], 1), spans)
    unique, inverse, counts = keys.unique(sorted=True, return_inverse=True, return_counts=True)
    coordinates = decode_keys(unique, spans)
    coordinates[:, 1:] += low
    return Voxels(coordinates, inverse, counts)


def encode_keys(coordinates: Int[Tensor, "rows 4"], spans: Sequence[int]) -> Int[Tensor, " rows"]:
    """Return (batch, x, y, z), each from 0 to below its span, as one number with the same sort order."""
    batch, x, y, z = coordinates.unbind(1)
    return ((batch * spans[0] + x) * spans[1] + y) * spans[2] + z


def decode_keys(keys: Int[Tensor, " rows"], spans: Sequence[int]) -> Int[Tensor, "rows 4"]:
    """Invert `encode_keys`."""
    z, keys = keys % spans[2], keys // spans[2]
    y, keys = keys % spans[1], keys // spans[1]
    return torch.stack([keys // spans[0], keys % spans[0], y, z], dim=1)
