"""Configuration of masked autoencoding of volumes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from dimlift.config.method_config import TaskSpec
from dimlift.config.pretraining_config import Pretraining, PretrainingData
from dimlift.errors import ConfigError, DataError
from dimlift.progress import Progress, no_progress

if TYPE_CHECKING:
    from torch import nn

    from dimlift.batch import Batch
    from dimlift.methods.method import Method

MIN_VOLUMES = 3
"""Fewer volumes are memorised."""

TRIED_CROPS = 16
"""Crops that are searched for one that is not background, before training."""

BlockSide = Annotated[int, Field(ge=1)]


class MAEPretraining(Pretraining):
    """Predict the voxels of masked blocks from the visible ones: MAE, SparK."""

    evaluated_batches: ClassVar[int] = 20

    method: Literal["mae"] = Field(default="mae", description="Predict the voxels of masked blocks of volumes.")
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.6, description="Fraction of the blocks that is masked."
    )
    block: tuple[BlockSide, BlockSide, BlockSide] = Field(
        default=(8, 8, 8), description="(depth, height, width) of a block, in voxels; it is masked as a whole."
    )

    def model_task(self, task: TaskSpec) -> TaskSpec:
        """Return a segmentation with one output per input channel."""
        return replace(task, kind="segmentation", num_classes=task.in_channels)

    def build(self, model: "nn.Module | None", data: PretrainingData) -> "Method[Any]":
        """Build the autoencoder.

        Raises:
            ConfigError: without a network, or if a patch is a single block.
            DataError: if there are too few volumes, or all are much smaller than a patch.
        """
        from dimlift.methods.mae.method import MaskedVolumeAutoencoder

        if model is None:
            raise ConfigError("'arm' is missing: mae pretrains the network of an arm; name one")
        patch = data.task.patch_size
        if all(side <= step for side, step in zip(patch, self.block, strict=True)):
            raise ConfigError(
                f"patches of {patch} voxels are a single block of {self.block}, of which nothing is left to predict "
                "from; lower pretraining.block, or raise training.patch_size"
            )
        require_volumes([sample.image.shape[1:] for sample in data.samples], patch)
        return MaskedVolumeAutoencoder(model, mask_ratio=self.mask_ratio, block=self.block)

    def batches(
        self, method: Any, data: PretrainingData, progress: Progress = no_progress
    ) -> "tuple[float, Callable[[int], Batch]]":
        """Return batches of patches.

        Raises:
            DataError: if patches are background.
        """
        from dimlift.methods.mae.method import normalise_blocks

        sampler, size = data.patch_sampler(), data.training.batch_size
        crops = (sampler.batch(step, 1) for step in range(TRIED_CROPS))
        if not any(bool(normalise_blocks(crop.image, self.block)[1].any()) for crop in crops):
            raise DataError(
                f"{TRIED_CROPS} patches of {data.task.patch_size} voxels hold a single intensity each, so there is "
                "nothing to predict; check the volumes with dimlift check, or raise training.patch_size"
            )
        return 0.0, lambda step: sampler.batch(step, size)


def require_volumes(shapes: Sequence[Sequence[int]], patch_size: Sequence[int]) -> None:
    """Check that there are enough volumes and that patches are not mostly padding.

    Args:
        shapes: (depth, height, width) of each volume, in voxels.
        patch_size: of a patch.

    Raises:
        DataError: if not.
    """
    if len(shapes) < MIN_VOLUMES:
        raise DataError(
            f"mae needs at least {MIN_VOLUMES} volumes, got {len(shapes)}, which would be memorised; add volumes to "
            "dataset.path, they need no labels"
        )
    if all(any(2 * full < side for full, side in zip(shape, patch_size, strict=True)) for shape in shapes):
        largest = tuple(max(sides) for sides in zip(*shapes, strict=True))
        raise DataError(
            f"patches of {tuple(patch_size)} voxels are more than twice as large as the volumes (at most {largest}), "
            "so that most of a patch is padding; lower training.patch_size, or use a finer preprocessing.spacing"
        )
