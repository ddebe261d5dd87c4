"""The modalities by name, and the one that a configuration is about."""

from typing import Any

from dimlift.config.method_config import MethodConfig
from dimlift.inference.modality.base import Modality
from dimlift.inference.modality.point_clouds import PointCloudModality
from dimlift.inference.modality.volumes import VolumeModality

MODALITIES: dict[str, Modality] = {each.name: each for each in (VolumeModality(), PointCloudModality())}


def modality_of(config: Any) -> Modality:
    """Return the modality of a method, of a run, or of a study.

    Args:
        config: a `MethodConfig` or its class; or a `TrainConfig` or `StudyConfig`, whose methods decide.

    Raises:
        ValueError: if the methods of a study belong to different modalities.
    """
    if isinstance(config, MethodConfig) or (isinstance(config, type) and issubclass(config, MethodConfig)):
        return MODALITIES[config.modality]
    arms = config.arms if hasattr(config, "arms") else {config.name: config.arm}
    by_modality: dict[str, str] = {}
    for name, arm in arms.items():
        by_modality.setdefault(arm.modality, name)
    if len(by_modality) > 1:
        found = " and ".join(f"{name!r} takes {MODALITIES[key].plural}" for key, name in by_modality.items())
        raise ValueError(f"the arms of a study take data of one modality, but {found}; split the study")
    return MODALITIES[next(iter(by_modality))]
