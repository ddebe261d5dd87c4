"""Which domain a run belongs to."""

from typing import Any

from dimlift.experiments.domains import clouds, volumes
from dimlift.experiments.domains.domain import Domain


def domain_of(config: Any) -> Domain:
    """By what a `TrainConfig` or `StudyConfig` names to learn from."""
    return volumes if config.clouds is None else clouds
