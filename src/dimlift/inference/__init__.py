"""Prediction with a trained network: windows, ensembles, files, the hub.

Names are imported on first use.
"""

from typing import TYPE_CHECKING

from dimlift.lookup import lazy_exports

if TYPE_CHECKING:
    from dimlift.inference.averaged_crops import classify_volume as classify_volume
    from dimlift.inference.hub import pull as pull
    from dimlift.inference.hub import push as push
    from dimlift.inference.predict_files import predict as predict
    from dimlift.inference.predictor import Predictor as Predictor
    from dimlift.inference.sliding_window import segment_volume as segment_volume

_HOMES = {
    "Predictor": "predictor",
    "classify_volume": "averaged_crops",
    "predict": "predict_files",
    "pull": "hub",
    "push": "hub",
    "segment_volume": "sliding_window",
}

__all__ = sorted(_HOMES)
__getattr__ = lazy_exports(__name__, _HOMES)
