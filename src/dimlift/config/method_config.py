"""What every arm of a study has in common, and the task it is built for."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from dimlift.config.sections import LATER, PositiveFloat, Section, without_later
from dimlift.errors import ConfigError
from dimlift.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from dimlift.batch import Batch
    from dimlift.data.preprocessing.sample import Sample
    from dimlift.lifting.depth_plan import DepthPlan


@dataclass(frozen=True)
class Task:
    """What a method has to do, known before any network is built.

    Attributes:
        kind: segmentation gives a class to every voxel, classification one to every volume, regression a number.
        in_channels: channels of a volume; of clouds the three coordinates and what else is shown of a point.
        classes: number of classes, background included (1 for regression).
        spacing: (z, y, x) millimetres between voxels as the network sees them; None where volumes differ.
        patch_size: (depth, height, width) voxels of a training patch; zeros for clouds.
        seed: draws the initial weights.
        gradient_checkpointing: recompute activations in the backward pass.
        target_mean: of the training numbers, for regression; networks answer in units of their deviation.
        target_deviation: see `target_mean`.
        class_weights: of the classes in the order of the labels, for segmentation the background first; None weighs
            them alike.

    Raises:
        ConfigError: if there are class weights for a regression, or not one for each class.
    """

    kind: Literal["segmentation", "classification", "regression"]
    in_channels: int
    classes: int
    spacing: tuple[float, float, float] | None
    patch_size: tuple[int, int, int]
    seed: int = 0
    gradient_checkpointing: bool = False
    target_mean: float = 0.0
    target_deviation: float = 1.0
    class_weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.class_weights is None:
            return
        if self.kind == "regression":
            raise ConfigError("training.class_weights is for classes, the task is regression; leave it out")
        if len(self.class_weights) != self.classes:
            raise ConfigError(
                f"training.class_weights holds {len(self.class_weights)} numbers for {self.classes} classes; "
                "give one for each, in the order of the labels" + (", background first" * (self.kind == "segmentation"))
            )


class PlanSection(Section):
    """How the 2D network is lifted: the fields of `DepthPlan`."""

    kernel: int | Literal["cubic"] | dict[str, int] = Field(
        default=3,
        description="Depth of convolution kernels larger than 1: a number, `cubic`, or a number for each layer name.",
    )
    profile: (
        Literal["average", "centre", "gaussian", "box3", "kienzle_1g_as_published", "acs", "soft_acs", "random"]
        | Annotated[str, Field(pattern=r"^gaussian:[0-9.]+$")]
    ) = Field(
        default="centre",
        description="How a 2D kernel is shared out over depth; `gaussian:0.75` sets the width in slices.",
    )
    axes: tuple[Literal["depth", "height", "width"], ...] = Field(
        default=("depth",), description="Axes to inflate along; more than one needs cubic kernels."
    )
    stride: Literal["none", "kernel", "stem"] = Field(
        default="none",
        description="`kernel`: patchifying convolutions also stride in depth (tubelets); `stem`: the first convolution "
        "alone talks, and strides by `kernel` slices.",
    )
    reduce: tuple[int, ...] = Field(default=(1, 1, 1, 1), description="Average pooling over depth after each stage.")
    attention: Literal["slice", "joint", "planecycle"] | int = Field(
        default="slice",
        description="Attention within a slice, joint over all slices, over a window of slices, or in planes in turn.",
    )
    pool: Literal["slice", "joint"] = Field(
        default="slice", description="Squeeze-and-excite and global pools: per slice or over depth too."
    )
    norm: Literal["slice", "joint"] = Field(
        default="slice", description="Norms whose statistics span positions: per slice or over depth too."
    )
    head: Literal["mean", "max", "attention", "none"] = Field(
        default="mean", description="How slices become one answer in a classification network."
    )
    factorised: bool = Field(
        default=False,
        description="2D kernels times a depth profile for each channel: the same at the start, about the 2D cost.",
    )
    spacing: Literal["data"] | tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = Field(
        default=None,
        json_schema_extra=LATER,
        description="(z, y, x) in millimetres, or `data` for those of the training volumes: nnU-Net's rule says for "
        "each stage whether slices talk and whether depth is halved, instead of `kernel` and `reduce`.",
    )

    def depth_plan(self, spacing: tuple[float, float, float] | None) -> "DepthPlan":
        """The value object the lifting room works with, for volumes of this spacing (None where they differ).

        Raises:
            ConfigError: if the plan shall follow the data, and they have no one spacing.
        """
        from dimlift.lifting.depth_plan import DepthPlan

        given = self.model_dump()
        if self.spacing == "data":
            if spacing is None:
                raise ConfigError(
                    "plan.spacing=data, and the training volumes have different spacings; set preprocessing.spacing to "
                    "median, or name three numbers"
                )
            given["spacing"] = spacing
        return DepthPlan(**given)


class Arm(Section):
    """One competitor of a study: a method and its options."""

    method: str = Field(description="Name of the method.")
    title: str = Field(default="", description="Name shown in the report; the name of the arm if empty.")
    description: str = Field(default="", description="One sentence for the report.")
    rate: PositiveFloat | None = Field(
        default=None, description="Learning rate of this arm; `training.rate` if not set."
    )
    precision: Literal["32", "bf16"] | None = Field(
        default=None, description="Arithmetic of this arm; `training.precision` if not set."
    )
    repeat: int = Field(
        json_schema_extra=LATER,
        default=0,
        ge=0,
        description="Another number draws other weights and patches with the same seed; the same arm under two numbers "
        "is an A/A study.",
    )
    start: str | None = Field(
        default=None,
        description="Weights folder to start from, written by `dimlift pretrain` or `dimlift train`; what fits by name "
        "and shape arrives, the record names the rest. In a study `{seed}`, `{fold}` and `{fraction}` are the cell's.",
    )

    @abstractmethod
    def build(self, task: Task, *, fresh: bool = True) -> "nn.Module":
        """The method as a module with `loss(batch)`, `forward(image, features)`, `parameter_groups(rate)`.

        Args:
            fresh: True before training, when pretrained weights are read; False where all weights follow from a
                weights folder and only the architecture is wanted.

        Raises:
            ConfigError: if the method cannot do this task.
        """

    def patch_size(self, size: tuple[int, int, int]) -> tuple[int, int, int]:
        """(depth, height, width) of this arm's training patches, where the study's are of `size`."""
        return size

    def prepare(
        self,
        method: "nn.Module",
        samples: "Sequence[Sample]",
        cache: "Path",
        progress: Progress = silent,
        later: int = 0,
    ) -> "tuple[float, list[list[list[Tensor]]] | None]":
        """Whatever has to be computed from the training samples before the first step.

        Args:
            cache: folder for what other cells of the study can use again.
            later: test volumes that will follow, for the estimate that is told before the work.

        Returns:
            the seconds it takes without any cache, which count as training time; and for each sample one
            or more alternatives of the coarse feature maps that go with its image, or None for methods without.
        """
        return 0.0, None

    def beside(self, draw: "Callable[[int], Batch]", seed: int) -> "Callable[[int], Batch]":
        """The batch of each step, where a method learns from more than the patches that `draw` cuts.

        Args:
            draw: the patches of a step.
            seed: with the step the only source of chance.
        """
        return draw

    def companions(self, method: "nn.Module", sample: "Sample", cache: "Path | None" = None) -> "list[Tensor] | None":
        """The coarse feature maps that go with a new volume; None for methods without.

        Args:
            cache: folder where the cells of a study share what they computed.
        """
        return None

    def companion_bytes(
        self, method: "nn.Module", size: tuple[int, int, int], spacing: tuple[float, float, float]
    ) -> int:
        """Memory the companions of a volume take while they are computed; 0 for methods without."""
        return 0

    def takes(self, weight: str) -> bool:
        """Whether a weight of `start` is taken, by its name in the network; the rest is drawn anew."""
        return True

    def without_names(self) -> dict[str, Any]:
        """What decides the result: titles and descriptions may change without training again."""
        return without_later(self, self.model_dump(mode="json", exclude={"title", "description"}))
