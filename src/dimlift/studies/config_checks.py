"""Consistency of a configuration with the modality of its methods, and of a dataset with both."""

from typing import Any

from dimlift.config.sections import TrainingSection
from dimlift.data.case import Dataset
from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.errors import ConfigError
from dimlift.inference.modality.registry import MODALITIES, modality_of
from dimlift.methods.registry import methods_for


def hashed_data_options(config: Any) -> dict[str, Any]:
    """Return the options of loading data that determine a result; the content of the files is in the manifest.

    Args:
        config: a `TrainConfig` or `StudyConfig`.
    """
    section = modality_of(config).section
    return {"layout": config.dataset.layout, section: getattr(config, section).model_dump(mode="json")}


def require_modality(config: Any) -> None:
    """Check that a run or study sets nothing that does not apply to the modality of its methods.

    Raises:
        ValueError: naming the key; or the arms, if they belong to different modalities.
    """
    modality = modality_of(config)
    if config.task not in modality.tasks:
        raise ValueError(
            f"task {config.task!r} does not exist for {modality.plural}; use {' or '.join(modality.tasks)}"
        )
    for other in MODALITIES.values():
        section = getattr(config, other.section)
        if other is not modality and section != type(section)():
            raise ValueError(
                f"'{other.section}' applies to {other.plural}, but the method is trained on {modality.plural}; "
                f"remove it (see '{modality.section}'), or choose a method of: {', '.join(methods_for(other.name))}"
            )
    default = TrainingSection()
    for key in modality.inapplicable:
        if getattr(config.training, key) != getattr(default, key):
            raise ValueError(f"'training.{key}' does not apply to {modality.plural}; remove it")


def open_configured_dataset(config: Any) -> Dataset:
    """Open the dataset of a run or study; no file is checked.

    Raises:
        DataError: if there is none.
        ConfigError: if it is of another modality than the methods.
    """
    options, modality = config.dataset, modality_of(config)
    dataset = open_dataset(options.path, options.layout, config.task, options.skip_corrupt, config.point_clouds.columns)
    if dataset.modality == modality.name == "volumes" and dataset.task != config.task:
        raise ConfigError(
            f"{options.path} has labels of a {dataset.task} (layout: {dataset.layout}), but the task is "
            f"{config.task}; set task: {dataset.task} and a method for it, or choose another layout"
        )
    if dataset.modality != modality.name:
        found = MODALITIES[dataset.modality]
        raise ConfigError(
            f"{options.path} holds {found.plural}, but the method is trained on {modality.plural}; give another "
            f"dataset.path, or choose a method of: {', '.join(methods_for(found.name))}"
        )
    return dataset
