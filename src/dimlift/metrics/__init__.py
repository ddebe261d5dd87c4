"""Metrics of segmentation, classification and point clouds.

Names are imported on first use.
"""

from typing import TYPE_CHECKING

from dimlift.lookup import lazy_exports

if TYPE_CHECKING:
    from dimlift.metrics.classification import auroc as auroc
    from dimlift.metrics.classification import macro_f1 as macro_f1
    from dimlift.metrics.lesions import count_lesions as count_lesions
    from dimlift.metrics.points import mean_iou as mean_iou
    from dimlift.metrics.segmentation import dice as dice
    from dimlift.metrics.segmentation import hd95_mm as hd95_mm
    from dimlift.metrics.segmentation import nsd as nsd

_HOMES = {
    "auroc": "classification",
    "count_lesions": "lesions",
    "dice": "segmentation",
    "hd95_mm": "segmentation",
    "macro_f1": "classification",
    "mean_iou": "points",
    "nsd": "segmentation",
}

__all__ = sorted(_HOMES)
__getattr__ = lazy_exports(__name__, _HOMES)
