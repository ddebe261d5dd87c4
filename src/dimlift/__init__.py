"""Give pretrained 2D vision networks a third dimension, and find out whether it paid.

Names are imported when they are first used: `import dimlift` alone loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dimlift.data.check import check_dataset as check  # noqa: F401
    from dimlift.data.dataset import open_dataset as open_dataset
    from dimlift.experiments.compare import compare as compare
    from dimlift.experiments.config import StudyConfig as StudyConfig
    from dimlift.experiments.config import TrainConfig as TrainConfig
    from dimlift.experiments.config_file import load_config as load_config
    from dimlift.experiments.defaults import train_config as train_config
    from dimlift.experiments.demo import demo as demo
    from dimlift.experiments.estimators import DimliftClassifier as DimliftClassifier
    from dimlift.experiments.estimators import DimliftSegmenter as DimliftSegmenter
    from dimlift.experiments.export import export_onnx as export_onnx
    from dimlift.experiments.hub import pull as pull
    from dimlift.experiments.hub import push as push
    from dimlift.experiments.predict import predict as predict
    from dimlift.experiments.train import train as train
    from dimlift.experiments.trained import Trained as Trained
    from dimlift.lifting.flatten import flatten as flatten
    from dimlift.lifting.lifted import Lifted as Lifted
    from dimlift.lifting.network import lift as lift
    from dimlift.lifting.plan import DepthPlan as DepthPlan
    from dimlift.lifting.recalibration import recalibrate as recalibrate
    from dimlift.report.page import write_page as write_page
    from dimlift.report.summary import summarise as summarise

__version__ = "0.1.0"

_HOMES = {
    "lift": "dimlift.lifting.network",
    "Lifted": "dimlift.lifting.lifted",
    "DepthPlan": "dimlift.lifting.plan",
    "flatten": "dimlift.lifting.flatten",
    "recalibrate": "dimlift.lifting.recalibration",
    "open_dataset": "dimlift.data.dataset",
    "TrainConfig": "dimlift.experiments.config",
    "StudyConfig": "dimlift.experiments.config",
    "load_config": "dimlift.experiments.config_file",
    "train_config": "dimlift.experiments.defaults",
    "train": "dimlift.experiments.train",
    "predict": "dimlift.experiments.predict",
    "compare": "dimlift.experiments.compare",
    "demo": "dimlift.experiments.demo",
    "pull": "dimlift.experiments.hub",
    "push": "dimlift.experiments.hub",
    "Trained": "dimlift.experiments.trained",
    "DimliftClassifier": "dimlift.experiments.estimators",
    "DimliftSegmenter": "dimlift.experiments.estimators",
    "export_onnx": "dimlift.experiments.export",
    "check": ("dimlift.data.check", "check_dataset"),
    "summarise": "dimlift.report.summary",
    "write_page": "dimlift.report.page",  # "report" is the room: a function of that name would vanish behind it
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
