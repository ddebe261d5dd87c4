"""Make `import torchvision` work with a CPU-only torch.

The torchvision of the package registry is built against CUDA. With a CPU build of torch its operators do not load, and
importing it raises `operator torchvision::nms does not exist`, also from timm, lightning and transformers. Declaring
the two operators without an implementation is enough for everything except box detection.
"""

import importlib
import sys

import torch

_OPERATORS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_library: list[torch.library.Library] = []  # a garbage-collected Library would remove its operators


def ensure_torchvision_imports() -> None:
    """Import torchvision, if installed; if its operators are missing, declare them and import it again.

    Call this before timm, lightning.fabric or transformers is imported. Without torchvision, or if it works, this does
    nothing.
    """
    if "torchvision" in sys.modules:
        return
    try:
        importlib.import_module("torchvision")
    except ImportError:
        return
    except RuntimeError as fault:
        if "torchvision::" not in str(fault):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        if not _library:
            library = torch.library.Library("torchvision", "DEF")
            for schema in _OPERATORS.values():
                library.define(schema)
            _library.append(library)
        importlib.import_module("torchvision")
