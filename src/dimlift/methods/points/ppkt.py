"""PPKT: what a pixel means to a 2D network is taught to the point it shows (Liu et al., 2021, arXiv 2104.04687).

    L = -mean_i log softmax_j(z3D_i . z2D_j / t)_i

over N pairs of a point and the pixel that shows it, z of length one: z2D from a frozen network, a 1 x 1 convolution
and bilinear enlargement; z3D from a sparse U-Net over coloured voxels and a linear head. Network, convolution and head
on the 3D side learn; the 2D network does not. With superpixels (SLidR, Sautier et al., 2022,
https://arxiv.org/abs/2203.16258) both sides are averaged over each superpixel first, here over its drawn pairs.

Ours differs from the published port in two things: a point that another surface hides is paired with no pixel, and a
batch with fewer than N pairs uses what it has. AdamW trains it, as all methods here; the paper used SGD.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.batch import FrameBatch
from dimlift.errors import RunError
from dimlift.losses.contrast import group_means, info_nce
from dimlift.methods.supervised.param_groups import parameter_groups
from dimlift.methods.teachers.feature_maps import TeacherMaps, pair_values
from dimlift.models.point_sparse_unet import PointUNet, centred

TEMPERATURES = {"paper": 0.04, "slidr": 0.07}


class PPKT(nn.Module):
    """Contrast between points and pixels.

    Args:
        model: 3D network without a last layer; takes three colours.
        maps: of the frozen 2D network.
        dimensions: of the space both sides are compared in (128 in the paper, 64 in SLidR's port).
        temperature: 0.04 in the paper, 0.07 in SLidR's port.
        gather: with several processes, the pixels of all of them are candidates.
    """

    def __init__(
        self,
        model: PointUNet,
        maps: TeacherMaps,
        *,
        dimensions: int = 128,
        temperature: float = TEMPERATURES["paper"],
        gather: bool = True,
    ) -> None:
        super().__init__()
        self.model, self.maps = model, maps
        self.temperature, self.gather = temperature, gather
        self.point_head = nn.Linear(model.channels, dimensions)
        self.pixel_head = nn.Conv2d(maps.channels, dimensions, 1)

    def forward(self, batch: FrameBatch) -> Float[Tensor, "points dimensions"]:
        """Every point in the common space, not of length one."""
        return self.point_head(self.model(batch.points, centred(batch.colours), batch.frame))

    def pixels(self, batch: FrameBatch) -> Float[Tensor, "pairs dimensions"]:
        """The pixel of every pair in the common space, not of length one."""
        return pair_values(self.pixel_head(self.maps(batch.image)), batch)

    def loss(self, batch: FrameBatch) -> Float[Tensor, ""]:
        """InfoNCE from points to pixels, or from superpoints to superpixels.

        Raises:
            RunError: if there are fewer than two pairs.
        """
        if len(batch.pair_points) < 2:
            raise RunError(f"{len(batch.pair_points)} pairs in {', '.join(batch.cases)}; contrast needs two or more")
        points, pixels = self(batch)[batch.pair_points], self.pixels(batch)
        if batch.pair_segments is not None:
            points, pixels = (group_means(each, batch.pair_segments) for each in (points, pixels))
        return info_nce(points, pixels, self.temperature, self.gather)

    @torch.no_grad()
    def retrieved(self, batch: FrameBatch) -> Float[Tensor, " pairs"]:
        """For each point whether its own pixel is the most similar of all in the batch: 1 or 0."""
        points, pixels = (nn.functional.normalize(each, dim=1) for each in (self(batch), self.pixels(batch)))
        found = (points[batch.pair_points] @ pixels.T).argmax(1)
        return (found == torch.arange(len(found), device=found.device)).float()

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """The 3D network and both heads; the 2D network is in none."""
        return parameter_groups(self, rate)

    def set_progress(self, progress: float) -> None:
        """Nothing changes over the budget."""
