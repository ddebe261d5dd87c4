"""The method that `dimlift run` trains: the default of the task where it fits, else a network from scratch."""

from pathlib import Path
from typing import Any

from dimlift.errors import ConfigError
from dimlift.inference.modality.base import RunData
from dimlift.inference.modality.registry import modality_of
from dimlift.methods.preparation_cost import PreparationCost
from dimlift.studies.load_config import parse
from dimlift.studies.run_config import TrainConfig

SHARE = 0.25
"""Part of the budget that preparation may use."""

FEW_CASES, THICK_SLICES = 32, 3.0
"""Frozen features are preferred below this many training cases, or from this ratio of the sides of a voxel on: no gain
was measured for 32 isotropic volumes (docs/results.md)."""

FROM_SCRATCH: dict[str, dict[str, Any]] = {
    "segmentation": {"method": "unet", "strides": "spacing"},
    "classification": {"method": "resnet"},
    "regression": {"method": "resnet"},
}


def choose_method(
    config: TrainConfig, data: RunData, cache: Path, requested: bool
) -> tuple[TrainConfig, str, PreparationCost | None]:
    """Return the configuration with a method that fits, why it was chosen, and what its preparation costs.

    Args:
        config: with the default method of the task, or the requested one.
        data: the data of the run.
        cache: folder of the features.
        requested: the method is not to be changed.

    Raises:
        ConfigError: if the requested method does not fit.
    """
    cost = _cost(config, data)
    obstacle = "" if cost is None else cost.obstacle(config.budget.seconds, cache, SHARE)
    if requested:
        if obstacle:
            raise ConfigError(
                f"{config.arm.method}: {obstacle}; raise budget.seconds, or leave out arm.method to train another one"
            )
        return config, "as requested", cost
    if not obstacle and config.task == "segmentation" and cost is not None:
        obstacle = _no_gain_expected(data)
    if not obstacle:
        return config, _evidence(config, data), cost
    raw = config.model_dump(mode="json", exclude_none=True)
    changed = parse({**raw, "arm": FROM_SCRATCH[config.task]}, TrainConfig, source="")
    return changed, f"instead of {config.arm.method}, because {obstacle}", None


def _cost(config: TrainConfig, data: RunData) -> PreparationCost | None:
    if data.task.patch_size == (0, 0, 0):  # point clouds
        return None
    return config.arm.preparation_cost(modality_of(config).build(config.arm, data.task), data.samples)


def _no_gain_expected(data: RunData) -> str:
    spacing = data.task.spacing or (1.0, 1.0, 1.0)
    if len(data.train) < FEW_CASES or max(spacing) / min(spacing) >= THICK_SLICES:
        return ""
    return f"no gain from 2D features was measured with {FEW_CASES} or more training cases of near-isotropic voxels"


def _evidence(config: TrainConfig, data: RunData) -> str:
    if config.arm.modality == "point_clouds":
        return "from scratch; no weights for points are packaged"
    if config.task != "segmentation":
        return "a frozen 2D network on every slice had the highest mean in most comparisons (docs/results.md)"
    return f"{len(data.train)} training cases; 2D features had the higher mean with few labels (docs/results.md)"
