"""Runs, studies and pretraining, from a configuration to records.

Names are imported on first use.
"""

from typing import TYPE_CHECKING

from dimlift.lookup import lazy_exports

if TYPE_CHECKING:
    from dimlift.studies.pretrain_config import PretrainConfig as PretrainConfig
    from dimlift.studies.run_config import StudyConfig as StudyConfig
    from dimlift.studies.run_config import TrainConfig as TrainConfig

_HOMES = {
    "PretrainConfig": "pretrain_config",
    "StudyConfig": "run_config",
    "TrainConfig": "run_config",
}

__all__ = sorted(_HOMES)
__getattr__ = lazy_exports(__name__, _HOMES)
