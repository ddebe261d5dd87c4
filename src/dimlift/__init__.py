"""Give pretrained 2D vision networks a third dimension, and find out whether it paid.

Names are imported when they are first used: `import dimlift` alone loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dimlift.lifting.flatten import flatten as flatten
    from dimlift.lifting.lifted import Lifted as Lifted
    from dimlift.lifting.network import lift as lift
    from dimlift.lifting.plan import DepthPlan as DepthPlan

__version__ = "0.1.0"

_HOMES = {
    "lift": "dimlift.lifting.network",
    "Lifted": "dimlift.lifting.lifted",
    "DepthPlan": "dimlift.lifting.plan",
    "flatten": "dimlift.lifting.flatten",
    "train": "dimlift.experiments.train",
    "predict": "dimlift.experiments.predict",
    "compare": "dimlift.experiments.compare",
    "demo": "dimlift.experiments.demo",
    "check": ("dimlift.data.check", "check_dataset"),
    "report": ("dimlift.report.page", "write_page"),
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import the room a public name lives in."""
    if name not in _HOMES:
        raise AttributeError(f"dimlift has no {name!r}; it has {', '.join(__all__)}")
    home = _HOMES[name]
    module, attribute = home if isinstance(home, tuple) else (home, name)
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
