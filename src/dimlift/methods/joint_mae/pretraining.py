"""Configuration of Joint-MAE pretraining."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from dimlift.config.pretraining_config import PretrainingData
from dimlift.config.sections import PositiveFloat
from dimlift.methods.point_pretraining.point_clouds import (
    Depth,
    LossWeight,
    MaskRatio,
    PointCloudPretraining,
    RenderSize,
)

if TYPE_CHECKING:
    from dimlift.methods.method import Method


class JointMAEPretraining(PointCloudPretraining):
    """Predict masked points and masked pixels of the same point cloud's depth image: Joint-MAE."""

    evaluated_batches: ClassVar[int] = 20

    method: Literal["joint_mae"] = Field(
        default="joint_mae", description="Predict masked points and pixels of a depth image together."
    )
    mask_ratio: MaskRatio = Field(
        default=0.75, description="Fraction of the coarsest point patches, and of the image patches, that is masked."
    )
    attention_radius: PositiveFloat = Field(
        default=0.3,
        description="Largest distance in the image, in its half widths, at which a point token and an image token "
        "attend to each other; not from authors' code.",
    )
    shared_decoder_depth: Depth = Field(
        default=2, description="Blocks of the decoder of both modalities; not from authors' code."
    )
    specific_decoder_depth: Depth = Field(
        default=1, description="Blocks of the decoder of each modality; not from authors' code."
    )
    cross_weight: LossWeight = Field(
        default=1.0, description="Weight of the cross-reconstruction; not from authors' code."
    )
    render_size: RenderSize = Field(default=224, description="Height and width of the depth image, a multiple of 16.")

    def build(self, model: Any, data: PretrainingData) -> "Method[Any]":
        """Build the autoencoder; no pretrained 2D network is used."""
        from dimlift.methods.joint_mae.method import JointMAE

        return JointMAE(model, **self.model_dump(exclude={"method"}))
