"""A sparse 3D network learns the soft labels a 2D network gives to the pixels that show its points."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from dimlift.config.pretraining_config import Pool
from dimlift.methods.points.ppkt_config import FramePretraining

if TYPE_CHECKING:
    from torch import nn


class SoftLabelsPretraining(FramePretraining):
    """Every point learns the class probabilities of the pixel that shows it (Yu, Sun and Sun, 2022)."""

    method: Literal["soft_labels"] = Field(default="soft_labels", description="Soft labels of a 2D network on points.")

    def build(self, student: "nn.Module | None", pool: Pool) -> "nn.Module":
        """The 3D network with one output a class of the 2D network."""
        from dimlift.methods.points.soft_labels import SoftLabels, class_maps
        from dimlift.methods.teachers.feature_maps import TeacherMaps

        maps = TeacherMaps(self.teacher(head=True), pool.cache, ask=class_maps)
        return SoftLabels(self.point_network(maps.channels), maps)
