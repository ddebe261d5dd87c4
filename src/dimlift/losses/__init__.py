"""Losses.

Names are imported on first use.
"""

from typing import TYPE_CHECKING

from dimlift.lookup import lazy_exports

if TYPE_CHECKING:
    from dimlift.losses.contrast import info_nce as info_nce
    from dimlift.losses.distillation import kl_to_teacher as kl_to_teacher
    from dimlift.losses.distillation import soft_cross_entropy as soft_cross_entropy
    from dimlift.losses.segmentation import DiceCELoss as DiceCELoss
    from dimlift.losses.volume import classification_loss as classification_loss
    from dimlift.losses.volume import regression_loss as regression_loss

_HOMES = {
    "DiceCELoss": "segmentation",
    "classification_loss": "volume",
    "info_nce": "contrast",
    "kl_to_teacher": "distillation",
    "regression_loss": "volume",
    "soft_cross_entropy": "distillation",
}

__all__ = sorted(_HOMES)
__getattr__ = lazy_exports(__name__, _HOMES)
