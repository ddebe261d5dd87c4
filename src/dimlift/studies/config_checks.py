"""Volumes or clouds: what a configuration may ask of either, and which arms read which."""

from typing import Any

from dimlift.config.method_config import Arm
from dimlift.config.sections import PreprocessingSection, TrainingSection
from dimlift.methods.registry import METHODS, POINT_METHODS

OF_VOLUMES = (
    "patch_size", "foreground_share", "mirror_axes", "sequence_dropout", "overlap", "packed", "gradient_checkpointing",
)  # fmt: skip
"""Keys of `training` that say nothing about clouds."""


def decisive_source(config: Any) -> dict[str, Any]:
    """What decides a result of how its data lies and is read; what is in it, the manifest says.

    Args:
        config: a `TrainConfig`.
    """
    if config.clouds is None:
        return {"layout": config.dataset.layout}
    return {"clouds": config.clouds.model_dump(mode="json", exclude={"path", "skip_bad"})}


def require_of_clouds(config: Any) -> None:
    """Raises: ValueError, naming what is asked of clouds and can only be asked of volumes."""
    if config.task == "regression":
        raise ValueError("task is 'regression', which is for volumes; clouds take segmentation or classification")
    if config.preprocessing != PreprocessingSection():
        raise ValueError("'preprocessing' is about volumes; take it out, 'clouds' says what happens to points")
    plain = TrainingSection()
    if told := [name for name in OF_VOLUMES if getattr(config.training, name) != getattr(plain, name)]:
        raise ValueError(f"'training.{told[0]}' is about volumes; take it out")


def require_readers(config: Any, arms: dict[str, Arm]) -> None:
    """Raises: ValueError, if an arm reads volumes and there are clouds, or the other way round."""
    table: dict[str, Any] = METHODS if config.clouds is None else POINT_METHODS
    for key, arm in arms.items():
        if arm.method not in table:
            reads, wanted = ("clouds", "volumes") if config.clouds is None else ("volumes", "clouds")
            raise ValueError(
                f"'{key}.method' is {arm.method!r}, which reads {reads}, and there are {wanted}; choose one of: "
                + ", ".join(table)
            )
