"""Configuration of CrossPoint pretraining."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from dimlift.config.pretraining_config import PretrainingData
from dimlift.config.sections import PositiveFloat
from dimlift.methods.point_pretraining.point_clouds import PointTeacherPretraining

if TYPE_CHECKING:
    from dimlift.methods.method import Method


class CrossPointPretraining(PointTeacherPretraining):
    """Contrast augmented point clouds with each other and with images of them, following CrossPoint."""

    method: Literal["crosspoint"] = Field(
        default="crosspoint", description="Contrast between point clouds and images of them."
    )
    temperature: PositiveFloat = Field(default=0.1, description="Temperature of the softmax over the batch.")
    proj_dim: Annotated[int, Field(ge=2)] = Field(
        default=256, description="Dimension of the space in which embeddings are compared."
    )

    def build(self, model: Any, data: PretrainingData) -> "Method[Any]":
        """Build the contrastive method with its teacher."""
        import torch

        from dimlift.methods.crosspoint.method import CrossPoint

        teacher = self.teacher()
        channels = teacher.embed(torch.zeros(1, 3, self.render_size, self.render_size)).shape[1]
        options: dict[str, Any] = self.model_dump(include={"temperature", "proj_dim", "render_size"})
        return CrossPoint(model, teacher, channels, **options)
