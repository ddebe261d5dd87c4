"""Configuration of Point-MAE and Point-M2AE pretraining."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from dimlift.config.pretraining_config import PretrainingData
from dimlift.config.sections import PresetMixin
from dimlift.methods.point_pretraining.point_clouds import Depth, MaskRatio, PointCloudPretraining

if TYPE_CHECKING:
    from dimlift.methods.method import Method


class PointMAEPretraining(PresetMixin, PointCloudPretraining):
    """Predict the points of masked patches: Point-MAE, and with several levels Point-M2AE."""

    evaluated_batches: ClassVar[int] = 20

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "point_mae": {"mask_ratio": 0.6, "decoder_depth": 4},
        "point_m2ae": {"mask_ratio": 0.8, "decoder_depth": 1},
    }

    preset: Literal["none", "point_mae", "point_m2ae"] = Field(
        default="none",
        description="Published values of all keys that are not set: `point_mae` for an arm of one level, "
        "`point_m2ae` for the arm `point_m2ae`.",
    )
    method: Literal["point_mae"] = Field(default="point_mae", description="Predict the points of masked patches.")
    mask_ratio: MaskRatio = Field(
        default=0.6, description="Fraction of the coarsest patches that is masked; 0.8 in Point-M2AE."
    )
    decoder_depth: Depth = Field(
        default=4, description="Transformer blocks of the decoder at each level; 1 in Point-M2AE."
    )

    def build(self, model: Any, data: PretrainingData) -> "Method[Any]":
        """Build the autoencoder; no 2D network is used."""
        from dimlift.methods.point_mae.method import PointMAE

        return PointMAE(model, mask_ratio=self.mask_ratio, decoder_depth=self.decoder_depth)
