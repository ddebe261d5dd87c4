"""What every arm of a study has in common, and the task it is built for."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from dimlift.experiments.sections import PositiveFloat, Section

if TYPE_CHECKING:
    from torch import nn

    from dimlift.lifting.plan import DepthPlan


@dataclass(frozen=True)
class Task:
    """What a method has to do, known before any network is built.

    Attributes:
        kind: segmentation gives a class to every voxel, classification one to every volume, regression a number.
        in_channels: channels of a volume.
        classes: number of classes, background included (1 for regression).
        spacing: (z, y, x) millimetres between voxels as the network sees them; None where volumes differ.
        patch_size: (depth, height, width) voxels of a training patch.
        seed: draws the initial weights.
    """

    kind: Literal["segmentation", "classification", "regression"]
    in_channels: int
    classes: int
    spacing: tuple[float, float, float] | None
    patch_size: tuple[int, int, int]
    seed: int = 0


class PlanSection(Section):
    """How the 2D network is lifted: the fields of `DepthPlan`."""

    kernel: int | Literal["cubic"] | dict[str, int] = Field(
        3,
        description="Depth of every convolution kernel larger than 1: a number, `cubic`, or a number for each layer name.",
    )
    profile: Literal["average", "centre", "gaussian"] = Field(
        "centre", description="How a 2D kernel is shared out over depth."
    )
    axes: tuple[Literal["depth", "height", "width"], ...] = Field(
        ("depth",), description="Axes to inflate along; more than one needs cubic kernels."
    )
    stride: Literal["none", "kernel"] = Field(
        "none", description="`kernel`: patchifying convolutions also stride in depth (tubelets)."
    )
    reduce: tuple[int, ...] = Field((1, 1, 1, 1), description="Average pooling over depth after each stage.")
    attention: Literal["slice", "joint"] | int = Field(
        "slice", description="Attention within a slice, joint over all slices, or over a window of slices."
    )
    pool: Literal["slice", "joint"] = Field(
        "slice", description="Squeeze-and-excite and global pools: per slice or over depth too."
    )
    norm: Literal["slice", "joint"] = Field(
        "slice", description="Norms whose statistics span positions: per slice or over depth too."
    )
    head: Literal["mean", "max", "attention", "none"] = Field(
        "mean", description="How slices become one answer in a classification network."
    )
    factorised: bool = Field(
        False,
        description="2D kernels times a depth profile for each channel: the same function at the start, about the 2D cost.",
    )

    def depth_plan(self) -> "DepthPlan":
        """The value object the lifting room works with."""
        from dimlift.lifting.plan import DepthPlan

        return DepthPlan(**self.model_dump())


class Arm(Section):
    """One competitor of a study: a method and its options."""

    method: str = Field(description="Name of the method.")
    title: str = Field("", description="Name shown in the report; the name of the arm if empty.")
    description: str = Field("", description="One sentence for the report.")
    rate: PositiveFloat | None = Field(None, description="Learning rate of this arm; `training.rate` if not set.")
    weights: str | None = Field(None, description="Weights folder or file to start from.")

    @abstractmethod
    def build(self, task: Task, *, fresh: bool = True) -> "nn.Module":
        """The method as a module with `loss(batch)`, `forward(image, features)`, `parameter_groups(rate)`.

        Args:
            fresh: True before training, when pretrained weights are read; False where all weights follow from a
                weights folder and only the architecture is wanted.
        """

    def without_names(self) -> dict[str, Any]:
        """What decides the result: titles and descriptions may change without training again."""
        return self.model_dump(mode="json", exclude={"title", "description"})
