"""Other libraries: scikit-learn, ONNX, nnU-Net.

Names are imported on first use.
"""

from typing import TYPE_CHECKING

from dimlift.lookup import lazy_exports

if TYPE_CHECKING:
    from dimlift.integrations.onnx import export_onnx as export_onnx
    from dimlift.integrations.sklearn import DimliftClassifier as DimliftClassifier
    from dimlift.integrations.sklearn import DimliftSegmenter as DimliftSegmenter

_HOMES = {
    "DimliftClassifier": "sklearn",
    "DimliftSegmenter": "sklearn",
    "export_onnx": "onnx",
}

__all__ = sorted(_HOMES)
__getattr__ = lazy_exports(__name__, _HOMES)
