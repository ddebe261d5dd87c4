"""Networks that read clouds: transformers on patches of points, and 2D vision transformers on points."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from dimlift.experiments.arms.arm import Arm, Task

if TYPE_CHECKING:
    from torch import nn

Count = Annotated[int, Field(ge=1)]


class PointArm(Arm):
    """A network of points with one answer for a cloud; `task.classes` 0 builds it without a head."""

    smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="Share of the answer that is spread over all classes in training from labels."
    )

    def build(self, task: Task, *, fresh: bool = True) -> "nn.Module":
        """A classifier of clouds."""
        from dimlift.methods.cloud_classification import CloudClassification
        from dimlift.models.cloud_classifier import CloudClassifier

        return CloudClassification(CloudClassifier(self.encoder(fresh), task.classes), smoothing=self.smoothing)

    @abstractmethod
    def encoder(self, fresh: bool) -> "nn.Module":
        """(B, N, 3) -> `PointTokens`; pretrained 2D weights are read only if `fresh`."""


class PointTransformerArm(PointArm):
    """A transformer on patches of points, all of one size: the network of Point-MAE."""

    method: Literal["point_transformer"] = Field(
        default="point_transformer", description="Transformer on patches of points."
    )
    patches: Count = Field(default=64, description="Patches of a cloud.")
    neighbours: Count = Field(default=32, description="Points of a patch.")
    width: Count = Field(default=384, description="Numbers of a token.")
    depth: Count = Field(default=12, description="Blocks.")
    heads: Count = Field(default=6, description="Heads of the attention.")

    def encoder(self, fresh: bool) -> "nn.Module":
        """One level."""
        from dimlift.models.point_hierarchy import PointHierarchy

        return PointHierarchy((self.patches,), (self.neighbours,), (self.width,), (self.depth,), self.heads)


class PointHierarchyArm(PointArm):
    """Transformers on patches of points, then on patches of those: the network of Point-M2AE and I2P-MAE."""

    method: Literal["point_hierarchy"] = Field(
        default="point_hierarchy", description="Transformers on patches of points, fine to coarse."
    )
    patches: tuple[Count, ...] = Field(default=(512, 256, 64), description="Patches of each level, finest first.")
    neighbours: tuple[Count, ...] = Field(default=(16, 8, 8), description="Points, or finer patches, of a patch.")
    widths: tuple[Count, ...] = Field(default=(96, 192, 384), description="Numbers of a token at each level.")
    depths: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        default=(5, 5, 5), description="Blocks of each level; 0 for a level that only merges."
    )
    heads: Count = Field(default=6, description="Heads of the attention.")

    def encoder(self, fresh: bool) -> "nn.Module":
        """As many levels as there are numbers."""
        from dimlift.models.point_hierarchy import PointHierarchy

        return PointHierarchy(self.patches, self.neighbours, self.widths, self.depths, self.heads)


class PointViTArm(PointArm):
    """Simple3D-Former: a 2D vision transformer on points."""

    method: Literal["point_vit"] = Field(default="point_vit", description="2D vision transformer on points.")
    network: str = Field(default="timm:deit_small_patch16_224", description="2D vision transformer, `timm:NAME`.")
    weights: str | None = Field(default=None, description="File with its weights, instead of the source's.")
    pretrained: bool | None = Field(
        default=None, description="Read the source's weights; not set: where `weights` is given or it brings them."
    )
    blocks: Count | None = Field(default=None, description="How many of its blocks, the first ones; not set: all.")
    neighbours: Count = Field(default=16, description="Points that are merged into one.")
    shrink: Count = Field(default=4, description="Points to each that is left after a step of merging.")

    def encoder(self, fresh: bool) -> "nn.Module":
        """The 2D network's blocks behind two steps of merging."""
        from dimlift.lifting.sources import open_network
        from dimlift.models.point_vit import PointViT

        options: dict[str, Any] = {"weights": self.weights} if fresh else {}
        network, _ = open_network(self.network, pretrained=self.pretrained if fresh else False, **options)
        return PointViT(network, self.blocks, self.neighbours, self.shrink)
