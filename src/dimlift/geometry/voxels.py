"""Points into voxels and back."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dimlift.errors import ShapeError


class Voxels(NamedTuple):
    """Occupied voxels of one or more clouds.

    Attributes:
        coordinates: integer (batch, x, y, z), sorted by batch, then x, y, z; every row once.
        inverse: for each point the row of its voxel.
        counts: points of each voxel.
    """

    coordinates: Int[Tensor, "voxels 4"]
    inverse: Int[Tensor, " points"]
    counts: Int[Tensor, " voxels"]

    def mean(self, values: Float[Tensor, "points channels"]) -> Float[Tensor, "voxels channels"]:
        """Mean of the values of each voxel's points."""
        summed = values.new_zeros(len(self.counts), values.shape[1]).index_add(0, self.inverse, values)
        return summed / self.counts[:, None]


def voxelise(points: Float[Tensor, "points 3"], size: float, batch: Int[Tensor, " points"] | None = None) -> Voxels:
    """Which voxels of a grid of `size` are occupied, and by which points. Voxel 0 begins at coordinate 0.

    Args:
        size: edge of a voxel, in the unit of the points.
        batch: cloud of each point; all of one if None.

    Raises:
        ShapeError: if a coordinate is not finite, or the cloud spans more voxels than a key can hold.
    """
    if size <= 0:
        raise ShapeError(f"a voxel of size {size}; give one above 0")
    if not torch.isfinite(points).all():
        raise ShapeError("a point has a coordinate that is NaN or infinite; take such points out first")
    cells = torch.floor(points.double() / size).long()
    batch = torch.zeros(len(points), dtype=torch.int64, device=points.device) if batch is None else batch
    if len(points) == 0:
        empty = cells.new_zeros(0)
        return Voxels(cells.new_zeros(0, 4), empty, empty)
    low = cells.amin(0)
    spans = tuple(int(span) + 1 for span in cells.amax(0) - low)
    if (int(batch.max()) + 1) * spans[0] * spans[1] * spans[2] >= 2**63:
        raise ShapeError(f"the points span {spans} voxels of size {size}, too many to number; take larger voxels")
    keys = pack(torch.cat([batch[:, None], cells - low], 1), spans)
    unique, inverse, counts = keys.unique(sorted=True, return_inverse=True, return_counts=True)
    coordinates = unpack(unique, spans)
    coordinates[:, 1:] += low
    return Voxels(coordinates, inverse, counts)


def pack(coordinates: Int[Tensor, "rows 4"], spans: tuple[int, ...]) -> Int[Tensor, " rows"]:
    """(batch, x, y, z), each from 0 to below its span, as one number that sorts alike."""
    batch, x, y, z = coordinates.unbind(1)
    return ((batch * spans[0] + x) * spans[1] + y) * spans[2] + z


def unpack(keys: Int[Tensor, " rows"], spans: tuple[int, ...]) -> Int[Tensor, "rows 4"]:
    """The way back from `pack`."""
    z, keys = keys % spans[2], keys // spans[2]
    y, keys = keys % spans[1], keys // spans[1]
    return torch.stack([keys // spans[0], keys % spans[0], y, z], dim=1)
