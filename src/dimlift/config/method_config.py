"""Options shared by all methods, and the task a method is built for."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from dimlift.config.sections import PositiveFloat, Section
from dimlift.data.case import TaskType
from dimlift.errors import ConfigError
from dimlift.progress import Progress, no_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

    from dimlift.batch import Batch
    from dimlift.data.preprocessing.sample import Sample
    from dimlift.methods.method import Method
    from dimlift.methods.preparation_cost import PreparationCost

    SampleFeatures = list[list[list[Tensor]]]
    """For each sample its alternative feature sets, each a list of coarse maps."""


@dataclass(frozen=True)
class TaskSpec:
    """What a method is built for.

    Attributes:
        kind: segmentation predicts a class per voxel or point, classification a class per case, regression a number.
        in_channels: channels of a volume; of point clouds the three coordinates and the features of a point.
        num_classes: number of classes, background included; 1 for regression.
        spacing: (z, y, x) millimetres between voxels as the network receives them; None if it varies.
        patch_size: (depth, height, width) voxels of a training patch; zeros for point clouds.
        seed: seed of the initial weights.
        gradient_checkpointing: recompute activations in the backward pass.
        target_mean: mean of the training targets of a regression; networks predict standardised targets.
        target_std: standard deviation of the training targets.
        class_weights: weight of each class in the order of the labels, in a segmentation the background first;
            None for equal weights.

    Raises:
        ConfigError: for class weights of a regression, or not one weight per class.
    """

    kind: TaskType
    in_channels: int
    num_classes: int
    spacing: tuple[float, float, float] | None
    patch_size: tuple[int, int, int]
    seed: int = 0
    gradient_checkpointing: bool = False
    target_mean: float = 0.0
    target_std: float = 1.0
    class_weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.class_weights is None:
            return
        if self.kind == "regression":
            raise ConfigError("training.class_weights is for classes, the task is regression; remove it")
        if len(self.class_weights) != self.num_classes:
            raise ConfigError(
                f"training.class_weights has {len(self.class_weights)} numbers for {self.num_classes} classes; "
                "give one per class, in the order of the labels" + ", background first" * (self.kind == "segmentation")
            )


class MethodConfig(Section):
    """A method and its options: one competitor ("arm") of a study."""

    modality: ClassVar[str] = "volumes"
    supports_gradient_checkpointing: ClassVar[bool] = False
    """What the method is trained on: "volumes" or "point_clouds"."""

    method: str = Field(description="Name of the method.")
    title: str = Field(default="", description="Name in the report; the name of the arm if empty.")
    description: str = Field(default="", description="One sentence for the report.")
    lr: PositiveFloat | None = Field(default=None, description="Learning rate; `training.lr` if not set.")
    precision: Literal["32", "bf16"] | None = Field(
        default=None, description="Arithmetic of the forward pass; `training.precision` if not set."
    )
    replicate: int = Field(
        default=0,
        ge=0,
        description="Each number gives other initial weights and patches under the same seed; an arm under two numbers "
        "is an A/A study.",
    )
    init_from: str | None = Field(
        default=None,
        description="Weights folder of `dimlift pretrain` or `dimlift train` to initialise from; weights are loaded "
        "where names and shapes match, the record lists the rest. A study fills in `{seed}`, `{fold}`, "
        "`{train_fraction}` and `{train_count}`.",
    )

    @abstractmethod
    def build(self, task: TaskSpec, *, load_pretrained: bool = True) -> "Method[Any]":
        """Build the method.

        Args:
            task: what it is built for.
            load_pretrained: read pretrained weights; False if all weights are loaded from a weights folder afterwards.

        Raises:
            ConfigError: if the method does not support the task.
        """

    def require_segmentation(self, task: TaskSpec) -> None:
        """Check that the task is a segmentation.

        Raises:
            ConfigError: for another kind of task, or gradient checkpointing that the method does not support.
        """
        if task.kind != "segmentation":
            raise ConfigError(
                f"method {self.method!r} supports segmentation only, the task is {task.kind}; use 'lifted', "
                "'slicewise' or 'resnet'"
            )
        self.require_gradient_checkpointing(task)

    def require_gradient_checkpointing(self, task: TaskSpec) -> None:
        """Check that the method supports gradient checkpointing, if the task uses it.

        Raises:
            ConfigError: if it does not.
        """
        if task.gradient_checkpointing and not self.supports_gradient_checkpointing:
            raise ConfigError(
                f"method {self.method!r} has no gradient checkpointing; set training.gradient_checkpointing=false"
            )

    def training_patch_size(self, size: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return the (depth, height, width) of training patches of this method, where the run's are of `size`."""
        return size

    def prepare(
        self,
        method: Any,
        samples: "Sequence[Sample]",
        cache: "Path",
        progress: Progress = no_progress,
    ) -> "tuple[float, SampleFeatures | None]":
        """Compute what the method needs from the training samples before the first step.

        Args:
            method: what `build` returned.
            samples: the training samples.
            cache: folder shared by the runs of a study.
            progress: progress callback.

        Returns:
            The seconds this takes without a cache, which count as training time, and the features of each sample
            (None for methods without features).
        """
        return 0.0, None

    def preparation_cost(self, method: Any, samples: "Sequence[Sample]") -> "PreparationCost | None":
        """Return the estimated cost of `prepare`; None where it costs nothing.

        Args:
            method: what `build` returned.
            samples: the training samples.
        """
        return None

    def wrap_batches(self, batch_at: "Callable[[int], Batch]", seed: int) -> "Callable[[int], Batch]":
        """Return the function that makes the batch of a step, for methods that train on more than patches.

        Args:
            batch_at: makes the patches of a step.
            seed: together with the step the only source of randomness.
        """
        return batch_at

    def extra_inputs(self, method: Any, sample: "Sample", cache: "Path | None" = None) -> "list[Tensor] | None":
        """Return the coarse feature maps of a new volume; None for methods without features.

        Args:
            method: what `build` returned.
            sample: a preprocessed volume.
            cache: folder shared by the runs of a study.
        """
        return None

    def extra_input_bytes(self, method: Any, size: tuple[int, int, int], spacing: tuple[float, float, float]) -> int:
        """Return the peak memory of computing `extra_inputs` for a volume, in bytes."""
        return 0

    def accepts_weight(self, name: str) -> bool:
        """Return whether `init_from` may load a weight, by its name in the network."""
        return True

    def hashed_fields(self) -> dict[str, Any]:
        """Return the options that determine the result of a run: all but title and description."""
        return self.model_dump(mode="json", exclude={"title", "description"})
