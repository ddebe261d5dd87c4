"""Configuration of I2P-MAE pretraining."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from dimlift.config.pretraining_config import PretrainingData
from dimlift.config.sections import PaperPreset, PositiveFloat
from dimlift.methods.point_pretraining.point_clouds import Depth, LossWeight, MaskRatio, PointTeacherPretraining

if TYPE_CHECKING:
    from dimlift.methods.method import Method


class I2PMAEPretraining(PaperPreset, PointTeacherPretraining):
    """Predict masked points, and a frozen 2D network's features of visible patches: I2P-MAE."""

    evaluated_batches: ClassVar[int] = 20

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {
            "network": "timm:vit_base_patch16_clip_224.openai",
            "render_size": 224,
            "mask_ratio": 0.8,
            "decoder_depth": 1,
            "saliency_temperature": 1.0,
            "feature_weight": 1.0,
        }
    }

    method: Literal["i2p_mae"] = Field(
        default="i2p_mae", description="Predict masked points, guided by a frozen 2D network."
    )
    mask_ratio: MaskRatio = Field(default=0.8, description="Fraction of the coarsest patches that is masked.")
    decoder_depth: Depth = Field(default=1, description="Transformer blocks of the decoder at each level.")
    saliency_temperature: PositiveFloat = Field(
        default=1.0,
        description="Temperature of the sampling of visible patches by saliency; the published 1 is nearly uniform.",
    )
    standardise_saliency: bool = Field(
        default=False,
        description="Scale the saliencies of a point cloud to unit standard deviation first; not in the authors' code.",
    )
    feature_weight: LossWeight = Field(default=1.0, description="Weight of the feature loss.")

    def build(self, model: Any, data: PretrainingData) -> "Method[Any]":
        """Build the autoencoder with its teacher."""
        from dimlift.methods.i2p_mae.method import I2PMAE

        options = self.model_dump(exclude={"method", "preset", "network", "weights", "pretrained"})
        return I2PMAE(model, self.teacher(), **options)
