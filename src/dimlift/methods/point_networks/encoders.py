"""Configurations of token encoders for point clouds: Point-MAE's, Point-M2AE's and Simple3D-Former's."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from dimlift.methods.point_networks.base import Count, PointEncoderConfig

if TYPE_CHECKING:
    from torch import nn


class PointTransformerConfig(PointEncoderConfig):
    """A transformer on point patches of one size: the network of Point-MAE."""

    method: Literal["point_transformer"] = Field(
        default="point_transformer", description="Transformer on point patches."
    )
    num_groups: Count = Field(default=64, description="Number of patches of a point cloud.")
    group_size: Count = Field(default=32, description="Number of points of a patch.")
    width: Count = Field(default=384, description="Channels of a token.")
    depth: Count = Field(default=12, description="Number of transformer blocks.")
    heads: Count = Field(default=6, description="Attention heads.")

    @property
    def min_points(self) -> int:
        """The larger of number and size of the patches."""
        return max(self.num_groups, self.group_size)

    def encoder(self, load_pretrained: bool, in_channels: int = 0) -> "nn.Module":
        """Build the encoder of one level."""
        from dimlift.models.point_m2ae_encoder import PointM2AEEncoder

        return PointM2AEEncoder(
            (self.num_groups,), (self.group_size,), (self.width,), (self.depth,), self.heads, in_channels
        )


class PointM2AEConfig(PointEncoderConfig):
    """Transformers on point patches, then on patches of those: the network of Point-M2AE and I2P-MAE."""

    method: Literal["point_m2ae"] = Field(
        default="point_m2ae", description="Transformers on point patches of several levels, fine to coarse."
    )
    num_groups: tuple[Count, ...] = Field(
        default=(512, 256, 64), description="Number of patches of each level, finest first."
    )
    group_sizes: tuple[Count, ...] = Field(
        default=(16, 8, 8), description="Number of points, or finer patches, of a patch of each level."
    )
    widths: tuple[Count, ...] = Field(default=(96, 192, 384), description="Channels of a token of each level.")
    depths: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        default=(5, 5, 5), description="Number of transformer blocks of each level; 0 for a level that only merges."
    )
    heads: Count = Field(default=6, description="Attention heads.")

    @property
    def min_points(self) -> int:
        """The larger of number and size of the finest patches."""
        return max(self.num_groups[0], self.group_sizes[0])

    def encoder(self, load_pretrained: bool, in_channels: int = 0) -> "nn.Module":
        """Build the encoder of several levels."""
        from dimlift.models.point_m2ae_encoder import PointM2AEEncoder

        return PointM2AEEncoder(self.num_groups, self.group_sizes, self.widths, self.depths, self.heads, in_channels)


class PointViTConfig(PointEncoderConfig):
    """Simple3D-Former: a 2D vision transformer on points."""

    method: Literal["point_vit"] = Field(default="point_vit", description="2D vision transformer on points.")
    network: str = Field(default="timm:deit_small_patch16_224", description="2D vision transformer, `timm:NAME`.")
    weights: str | None = Field(
        default=None, description="Weights file of the 2D network, instead of the source's weights."
    )
    pretrained: bool | None = Field(
        default=None,
        description="Load the source's weights; not set: if `weights` is set or the network is packaged with weights.",
    )
    blocks: Count | None = Field(default=None, description="Number of its first blocks to use; not set: all.")
    num_neighbors: Count = Field(default=16, description="Points that are merged into one.")
    pool_ratio: Count = Field(default=4, description="Ratio of point numbers before and after each merging step.")

    @property
    def min_points(self) -> int:
        """Points needed so that both merging steps find enough neighbours."""
        return self.num_neighbors * self.pool_ratio

    def encoder(self, load_pretrained: bool, in_channels: int = 0) -> "nn.Module":
        """Build the 2D network's blocks behind two merging steps."""
        from dimlift.backbones.factory import create_backbone
        from dimlift.models.point_vit import PointViT

        options: dict[str, Any] = {"weights": self.weights} if load_pretrained else {}
        network, _ = create_backbone(self.network, pretrained=self.pretrained if load_pretrained else False, **options)
        return PointViT(network, self.blocks, self.num_neighbors, self.pool_ratio, in_channels)

    def segmenter(self, encoder: Any, num_classes: int) -> "nn.Module":
        """Build Simple3D-Former's segmentation network: two interpolation steps with skip connections."""
        from dimlift.models.point_vit import PointViTSegmenter

        return PointViTSegmenter(encoder, num_classes)
