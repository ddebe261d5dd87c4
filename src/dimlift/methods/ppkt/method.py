"""PPKT: contrast between points and the pixels that show them (Liu et al., 2021, arXiv 2104.04687).

    L = -mean_i log softmax_j(z3D_i . z2D_j / t)_i

over N pairs of a point and the pixel that shows it, z of unit length: z2D from a frozen network, a 1 x 1 convolution
and bilinear upsampling; z3D from a sparse U-Net over coloured voxels and a linear head. Sparse U-Net, head and
convolution are trained; the 2D network is frozen. With superpixels (SLidR, Sautier et al., 2022,
https://arxiv.org/abs/2203.16258) both sides are averaged over the sampled pairs of each superpixel first.

Differences from the published port: occluded points are paired with no pixel, and a batch with fewer than N pairs uses
the pairs it has. All methods use AdamW; the paper uses SGD.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.batch import FrameBatch
from dimlift.errors import RunError
from dimlift.losses.contrast import group_means, info_nce
from dimlift.methods.method import Method
from dimlift.methods.teachers.feature_maps import CachedFeatureMaps, pair_features
from dimlift.models.point_sparse_unet import PointSparseUNet, centre_colours


class PPKT(Method[FrameBatch]):
    """Contrastive distillation from pixels to points.

    Args:
        model: sparse U-Net without a last layer; takes three colours.
        maps: feature maps of the frozen 2D network.
        proj_dim: dimension of the space in which both sides are compared (128 in the paper, 64 in SLidR's port).
        temperature: 0.04 in the paper, 0.07 in SLidR's port.
        gather: with several processes, use the pixels of all of them as candidates.
    """

    def __init__(
        self,
        model: PointSparseUNet,
        maps: CachedFeatureMaps,
        *,
        proj_dim: int = 128,
        temperature: float = 0.04,
        gather: bool = True,
    ) -> None:
        super().__init__()
        self.model, self.maps = model, maps
        self.temperature, self.gather = temperature, gather
        self.point_head = nn.Linear(model.channels, proj_dim)
        self.pixel_head = nn.Conv2d(maps.channels, proj_dim, 1)

    def forward(self, batch: FrameBatch) -> Float[Tensor, "points dimensions"]:
        """Return the projection of every point, not normalised."""
        return self.point_head(self.model(batch.points, centre_colours(batch.colours), batch.frame))

    def project_pixels(self, batch: FrameBatch) -> Float[Tensor, "pairs dimensions"]:
        """Return the projection of the pixel of every pair, not normalised."""
        return pair_features(self.pixel_head(self.maps(batch.image)), batch)

    def loss(self, batch: FrameBatch) -> Float[Tensor, ""]:
        """Return InfoNCE from points to pixels, or from superpoints to superpixels.

        Raises:
            RunError: if there are fewer than two pairs.
        """
        if len(batch.pair_points) < 2:
            raise RunError(f"{', '.join(batch.cases)} have {len(batch.pair_points)} pairs; contrast needs two or more")
        points, pixels = self(batch)[batch.pair_points], self.project_pixels(batch)
        if batch.pair_segments is not None:
            points, pixels = (group_means(each, batch.pair_segments) for each in (points, pixels))
        return info_nce(points, pixels, self.temperature, self.gather)

    @torch.no_grad()
    def retrieval_hits(self, batch: FrameBatch) -> Float[Tensor, " pairs"]:
        """Return for each pair whether its pixel is the most similar to the point in the batch: 1 or 0."""
        points, pixels = (nn.functional.normalize(each, dim=1) for each in (self(batch), self.project_pixels(batch)))
        nearest = (points[batch.pair_points] @ pixels.T).argmax(1)
        return (nearest == torch.arange(len(nearest), device=nearest.device)).float()
