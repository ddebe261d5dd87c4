"""Configuration of the mean teacher."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from dimlift.config.method_config import TaskSpec
from dimlift.config.sections import Fraction
from dimlift.errors import ConfigError
from dimlift.methods.point_networks.sparse_unet import SparseUNetConfig

if TYPE_CHECKING:
    from dimlift.methods.method import Method


class MeanTeacherConfig(SparseUNetConfig):
    """Sparse U-Net trained from few labelled points and a moving average of itself (Yu, Sun and Sun, 2022)."""

    method: Literal["mean_teacher"] = Field(
        default="mean_teacher", description="Sparse U-Net with few labelled points and a mean teacher."
    )
    consistency_weight: Annotated[float, Field(ge=0)] = Field(
        default=10.0, description="Weight of the distance to the teacher after ramp-up."
    )
    rampup_fraction: Fraction = Field(
        default=0.06, description="Fraction of the budget over which the consistency weight ramps up."
    )
    entropy_weight: Annotated[float, Field(ge=0)] = Field(
        default=0.5, description="Weight of the entropy of the predictions."
    )
    pseudo_label_fraction: Fraction = Field(
        default=0.2, description="Fraction of the points of each predicted class that get pseudo-labels."
    )

    def build(self, task: TaskSpec, *, load_pretrained: bool = True) -> "Method[Any]":
        """Build the student and its teacher.

        Raises:
            ConfigError: for classification, class weights or label smoothing, which the paper does not define.
        """
        from dimlift.methods.mean_teacher.method import MeanTeacher

        if task.kind != "segmentation":
            raise ConfigError("'mean_teacher' is for segmentation only; set task=segmentation")
        if task.class_weights is not None or self.label_smoothing:
            raise ConfigError("'mean_teacher' supports neither class weights nor label smoothing; remove both")
        options = self.model_dump(
            include={"consistency_weight", "rampup_fraction", "entropy_weight", "pseudo_label_fraction"}
        )
        return MeanTeacher(self.network(task), **options)
