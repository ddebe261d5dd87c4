"""Make `import torchvision` work beside a CPU-only torch.

The registry's torchvision is built against CUDA; beside a CPU torch its operators do not load, and importing it dies
with `operator torchvision::nms does not exist`, taking timm, lightning and transformers along. Naming the two operators
it looks for, without giving them a body, is enough for everything that does not detect boxes.
"""

import importlib
import sys

import torch

_OPERATORS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_library: list[torch.library.Library] = []  # a Library that is collected takes its operators with it


def ensure_torchvision_imports() -> None:
    """Import torchvision if it is there; if its operators are missing, name them and import it again.

    Call it before timm, lightning.fabric or transformers is imported. Without torchvision, or with one that works,
    nothing happens.
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
