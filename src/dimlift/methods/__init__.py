"""Methods: one folder per published route, each with its options (`MethodConfig`) and its loss (`Method`).

Names are imported on first use.
"""

from typing import TYPE_CHECKING

from dimlift.lookup import lazy_exports

if TYPE_CHECKING:
    from dimlift.methods.frozen_features.extraction import FeatureExtractor as FeatureExtractor
    from dimlift.methods.frozen_features.method import FrozenFeatureUNet as FrozenFeatureUNet
    from dimlift.methods.frozen_features.settings import FeatureExtractionSettings as FeatureExtractionSettings
    from dimlift.methods.method import Method as Method
    from dimlift.methods.registry import METHODS as METHODS
    from dimlift.methods.registry import PRETRAINING as PRETRAINING
    from dimlift.methods.supervised.points import SupervisedPoints as SupervisedPoints
    from dimlift.methods.supervised.volumes import Supervised as Supervised
    from dimlift.methods.teachers.teacher import Teacher as Teacher
    from dimlift.methods.teachers.teacher import open_teacher as open_teacher
    from dimlift.methods.teachers.teacher import wrap_teacher as wrap_teacher

_HOMES = {
    "FeatureExtractionSettings": "frozen_features.settings",
    "FeatureExtractor": "frozen_features.extraction",
    "FrozenFeatureUNet": "frozen_features.method",
    "METHODS": "registry",
    "Method": "method",
    "PRETRAINING": "registry",
    "Supervised": "supervised.volumes",
    "SupervisedPoints": "supervised.points",
    "Teacher": "teachers.teacher",
    "open_teacher": "teachers.teacher",
    "wrap_teacher": "teachers.teacher",
}

__all__ = sorted(_HOMES)
__getattr__ = lazy_exports(__name__, _HOMES)
