"""Configuration bases of networks for point clouds: classification of point clouds or segmentation of points."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from dimlift.config.method_config import MethodConfig, TaskSpec
from dimlift.errors import DataError

if TYPE_CHECKING:
    from torch import nn

    from dimlift.methods.method import Method

Count = Annotated[int, Field(ge=1)]
NUM_COORDINATES = 3
MAX_NAMES = 5
"""Point clouds named in an error message."""


class PointMethodConfig(MethodConfig):
    """Base of networks for points; `task.in_channels` counts the coordinates and all other features of a point."""

    modality: ClassVar[str] = "point_clouds"

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="Probability mass spread over all classes in supervised training."
    )


class PointEncoderConfig(PointMethodConfig):
    """Base of networks with a token encoder that can be pretrained; `task.num_classes` 0 builds them without a head."""

    @property
    @abstractmethod
    def min_points(self) -> int:
        """Smallest number of points that can be cut into patches."""

    def require_points(self, sizes: Mapping[str, int]) -> None:
        """Reject point clouds with fewer points than `min_points`; repeated points would make patches of copies.

        Args:
            sizes: number of points of each point cloud, by its name.

        Raises:
            DataError: if there are any.
        """
        small = [f"{name} ({count})" for name, count in sizes.items() if count < self.min_points]
        if small:
            more = f" and {len(small) - MAX_NAMES} more" if len(small) > MAX_NAMES else ""
            raise DataError(
                f"{self.method} needs point clouds of {self.min_points} points or more, these have fewer: "
                f"{', '.join(small[:MAX_NAMES])}{more}; remove them, or lower the number and size of its patches"
            )

    def build(self, task: TaskSpec, *, load_pretrained: bool = True) -> "Method[Any]":
        """Build a classifier of point clouds or a segmentation network."""
        from dimlift.methods.supervised.points import SupervisedPoints
        from dimlift.models.point_classifier import PointCloudClassifier

        encoder = self.encoder(load_pretrained, task.in_channels - NUM_COORDINATES)
        per_point = task.kind == "segmentation" and task.num_classes > 0
        model = (
            self.segmenter(encoder, task.num_classes) if per_point else PointCloudClassifier(encoder, task.num_classes)
        )
        return SupervisedPoints(model, label_smoothing=self.label_smoothing, class_weights=task.class_weights)

    @abstractmethod
    def encoder(self, load_pretrained: bool, in_channels: int = 0) -> "nn.Module":
        """Build the encoder, which returns `PointTokens`.

        Args:
            load_pretrained: load pretrained 2D weights.
            in_channels: feature channels of a point beside its coordinates.
        """

    def segmenter(self, encoder: Any, num_classes: int) -> "nn.Module":
        """Build the segmentation network around the encoder."""
        from dimlift.models.point_segmenter import PointCloudSegmenter

        return PointCloudSegmenter(encoder, num_classes)
