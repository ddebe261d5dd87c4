"""Which domain a run belongs to."""

from typing import Any

from dimlift.studies.modality import point_clouds, volumes
from dimlift.studies.modality.protocol import Domain


def domain_of(config: Any) -> Domain:
    """By what a `TrainConfig` or `StudyConfig` names to learn from."""
    return volumes if config.clouds is None else point_clouds
