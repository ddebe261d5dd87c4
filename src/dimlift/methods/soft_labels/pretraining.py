"""Configuration of soft-label pretraining."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from dimlift.config.pretraining_config import PretrainingData
from dimlift.methods.point_pretraining.rgbd import RGBDPretraining

if TYPE_CHECKING:
    from torch import nn

    from dimlift.methods.method import Method


class SoftLabelsPretraining(RGBDPretraining):
    """Predict at every point the class probabilities of the pixel that shows it (Yu, Sun and Sun, 2022)."""

    method: Literal["soft_labels"] = Field(
        default="soft_labels", description="Soft labels of a 2D network as targets for points."
    )

    def build(self, model: "nn.Module | None", data: PretrainingData) -> "Method[Any]":
        """Build the sparse U-Net with one output per class of the 2D network."""
        from dimlift.methods.soft_labels.method import SoftLabels, class_maps
        from dimlift.methods.teachers.feature_maps import CachedFeatureMaps

        maps = CachedFeatureMaps(self.teacher(head=True), data.cache, feature_fn=class_maps)
        return SoftLabels(self.point_network(maps.channels), maps)
