"""Training loop, checkpoints, process groups and loggers; independent of any method.

Names are imported on first use.
"""

from typing import TYPE_CHECKING

from dimlift.lookup import lazy_exports

if TYPE_CHECKING:
    from dimlift.training.checkpoint import load_checkpoint as load_checkpoint
    from dimlift.training.checkpoint import save_checkpoint as save_checkpoint

_HOMES = {
    "load_checkpoint": "checkpoint",
    "save_checkpoint": "checkpoint",
}

__all__ = sorted(_HOMES)
__getattr__ = lazy_exports(__name__, _HOMES)
