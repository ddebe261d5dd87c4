"""Networks that read clouds: an answer for every cloud, or for every point of it."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from dimlift.config.method_config import Arm, Task
from dimlift.config.sections import LATER, PositiveFloat, Share
from dimlift.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import nn

Count = Annotated[int, Field(ge=1)]
COORDINATES = 3


class PointArm(Arm):
    """What all networks of points share; `task.in_channels` are the coordinates and what else is shown of a point."""

    smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="Share of the answer that is spread over all classes in training from labels."
    )


class PointEncoderArm(PointArm):
    """A network that makes tokens of a cloud, which can learn without labels; `task.classes` 0 builds it headless."""

    @property
    @abstractmethod
    def least(self) -> int:
        """Points a cloud must have to be cut into patches."""

    def require_points(self, sizes: Mapping[str, int]) -> None:
        """Refuse clouds too small to be cut: drawing some of their points twice would make patches of copies.

        Args:
            sizes: points of each cloud, by its name.

        Raises:
            DataError: naming them.
        """
        small = [f"{name} ({count})" for name, count in sizes.items() if count < self.least]
        if small:
            more = f" and {len(small) - 5} more" if len(small) > 5 else ""
            raise DataError(
                f"{self.method} cuts a cloud of {self.least} points or more into patches, these have fewer: "
                f"{', '.join(small[:5])}{more}; take them out, or lower its patches and neighbours"
            )

    def build(self, task: Task, *, fresh: bool = True) -> "nn.Module":
        """A classifier of clouds, or of points."""
        from dimlift.methods.supervised.points import SupervisedPoints
        from dimlift.models.point_classifier import CloudClassifier

        encoder = self.encoder(fresh, task.in_channels - COORDINATES)
        of_points = task.kind == "segmentation" and task.classes > 0
        model = self.segmenter(encoder, task.classes) if of_points else CloudClassifier(encoder, task.classes)
        return SupervisedPoints(model, smoothing=self.smoothing, class_weights=task.class_weights)

    @abstractmethod
    def encoder(self, fresh: bool, extra: int = 0) -> "nn.Module":
        """(B, N, 3), and `extra` numbers a point -> `PointTokens`; pretrained 2D weights are read only if `fresh`."""

    def segmenter(self, encoder: Any, classes: int) -> "nn.Module":
        """The encoder with an answer for every point: tokens of every level are carried back to the points."""
        from dimlift.models.point_segmenter import CloudSegmenter

        return CloudSegmenter(encoder, classes)


class PointTransformerArm(PointEncoderArm):
    """A transformer on patches of points, all of one size: the network of Point-MAE."""

    method: Literal["point_transformer"] = Field(
        default="point_transformer", description="Transformer on patches of points."
    )
    patches: Count = Field(default=64, description="Patches of a cloud.")
    neighbours: Count = Field(default=32, description="Points of a patch.")
    width: Count = Field(default=384, description="Numbers of a token.")
    depth: Count = Field(default=12, description="Blocks.")
    heads: Count = Field(default=6, description="Heads of the attention.")

    @property
    def least(self) -> int:
        """A point for each patch, and for each place in one."""
        return max(self.patches, self.neighbours)

    def encoder(self, fresh: bool, extra: int = 0) -> "nn.Module":
        """One level."""
        from dimlift.models.point_m2ae_encoder import PointHierarchy

        return PointHierarchy((self.patches,), (self.neighbours,), (self.width,), (self.depth,), self.heads, extra)


class PointHierarchyArm(PointEncoderArm):
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

    @property
    def least(self) -> int:
        """A point for each of the finest patches, and for each place in one."""
        return max(self.patches[0], self.neighbours[0])

    def encoder(self, fresh: bool, extra: int = 0) -> "nn.Module":
        """As many levels as there are numbers."""
        from dimlift.models.point_m2ae_encoder import PointHierarchy

        return PointHierarchy(self.patches, self.neighbours, self.widths, self.depths, self.heads, extra)


class PointViTArm(PointEncoderArm):
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

    @property
    def least(self) -> int:
        """A point for each that is merged into one, in both steps."""
        return self.neighbours * self.shrink

    def encoder(self, fresh: bool, extra: int = 0) -> "nn.Module":
        """The 2D network's blocks behind two steps of merging."""
        from dimlift.backbones.open_network import open_network
        from dimlift.models.point_vit import PointViT

        options: dict[str, Any] = {"weights": self.weights} if fresh else {}
        network, _ = open_network(self.network, pretrained=self.pretrained if fresh else False, **options)
        return PointViT(network, self.blocks, self.neighbours, self.shrink, extra)

    def segmenter(self, encoder: Any, classes: int) -> "nn.Module":
        """Simple3D-Former's own: two steps of interpolation, with the tokens of the way down beside them."""
        from dimlift.models.point_vit import PointSegmenter

        return PointSegmenter(encoder, classes)


class SparseArm(PointArm):
    """What arms share whose network is a sparse U-Net on voxels, as PPKT and soft labels pretrain it."""

    layers: Literal[18, 34] = Field(default=18, description="Layers of the sparse U-Net; 34 in PPKT.")
    share: PositiveFloat = Field(default=1.0, description="Share of its published widths; 0.25 for a processor.")
    voxel: PositiveFloat = Field(
        default=0.05, description="Edge of a voxel, in the unit of the points (`clouds.frame`); 0.025 m in PPKT."
    )

    start_with: Literal["network", "encoder"] = Field(
        default="network",
        json_schema_extra=LATER,
        description="What is taken of `start`: the whole U-Net, or its encoder without the decoder.",
    )

    def takes(self, weight: str) -> bool:
        """All, or what leads down to the coarsest level."""
        from dimlift.models.sparse_unet import is_of_encoder

        return self.start_with == "network" or is_of_encoder(weight.removeprefix("network."))

    def network(self, task: Task) -> "nn.Module":
        """The U-Net with a head for points, or for clouds."""
        from dimlift.models.sparse_unet_heads import cloud_unet

        of_points = task.kind == "segmentation"
        return cloud_unet(
            task.in_channels - COORDINATES, task.classes, self.layers, self.share, self.voxel, of_points=of_points
        )


class PointUNetArm(SparseArm):
    """A sparse residual U-Net on voxels of points (SR-UNet); from scratch the plain rival of every other arm."""

    method: Literal["point_unet"] = Field(default="point_unet", description="Sparse residual U-Net on voxels.")

    def build(self, task: Task, *, fresh: bool = True) -> "nn.Module":
        """Learnt from labels."""
        from dimlift.methods.supervised.points import SupervisedPoints

        return SupervisedPoints(self.network(task), smoothing=self.smoothing, class_weights=task.class_weights)


class MeanTeacherArm(SparseArm):
    """The sparse U-Net learns from few labelled points and from the average of its own past (Yu, Sun and Sun, 2022)."""

    method: Literal["mean_teacher"] = Field(
        default="mean_teacher", description="Sparse U-Net with few labelled points and a mean teacher."
    )
    consistency: Annotated[float, Field(ge=0)] = Field(
        default=10.0, description="Weight of the distance to the teacher at the end of its rise."
    )
    rise: Share = Field(default=0.06, description="Share of the budget over which that weight rises.")
    entropy: Annotated[float, Field(ge=0)] = Field(default=0.5, description="Weight of the answers' entropy.")
    confident: Share = Field(default=0.2, description="Share of each predicted class whose answers are believed.")

    def build(self, task: Task, *, fresh: bool = True) -> "nn.Module":
        """Points without a label take part.

        Raises:
            ConfigError: for a task about whole clouds, class weights or smoothing, which the paper has none of.
        """
        from dimlift.methods.points.mean_teacher import MeanTeacher

        if task.kind != "segmentation":
            raise ConfigError("'mean_teacher' learns from labelled points only; set task=segmentation")
        if task.class_weights is not None or self.smoothing:
            raise ConfigError("'mean_teacher' weighs classes alike, without smoothing; leave both out")
        options = self.model_dump(include={"consistency", "rise", "entropy", "confident"})
        return MeanTeacher(self.network(task), **options)
