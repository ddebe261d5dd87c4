"""Lift pretrained 2D vision networks to 3D, train them, and measure the effect of 2D pretraining.

Names are imported when they are first used: `import dimlift` alone loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dimlift.data.datasets.open_dataset import open_dataset as open_dataset
    from dimlift.data.quality.check_dataset import check_dataset as check  # noqa: F401
    from dimlift.inference.hub import pull as pull
    from dimlift.inference.hub import push as push
    from dimlift.inference.predict_files import predict as predict
    from dimlift.inference.predictor import Predictor as Predictor
    from dimlift.integrations.onnx import export_onnx as export_onnx
    from dimlift.integrations.sklearn import DimliftClassifier as DimliftClassifier
    from dimlift.integrations.sklearn import DimliftSegmenter as DimliftSegmenter
    from dimlift.lifting.bn_recalibration import recalibrate_bn as recalibrate_bn
    from dimlift.lifting.depth_plan import DepthPlan as DepthPlan
    from dimlift.lifting.flatten import flatten as flatten
    from dimlift.lifting.lift import lift as lift
    from dimlift.lifting.lifted_module import LiftedModule as LiftedModule
    from dimlift.report.page import write_report as write_report
    from dimlift.report.summary import summarise as summarise
    from dimlift.studies.compare import compare as compare
    from dimlift.studies.defaults import train_config as train_config
    from dimlift.studies.demo import demo as demo
    from dimlift.studies.load_config import load_config as load_config
    from dimlift.studies.run_config import StudyConfig as StudyConfig
    from dimlift.studies.run_config import TrainConfig as TrainConfig
    from dimlift.studies.train import train as train

__version__ = "0.1.0"

_HOMES = {
    "lift": "dimlift.lifting.lift",
    "LiftedModule": "dimlift.lifting.lifted_module",
    "DepthPlan": "dimlift.lifting.depth_plan",
    "flatten": "dimlift.lifting.flatten",
    "recalibrate_bn": "dimlift.lifting.bn_recalibration",
    "open_dataset": "dimlift.data.datasets.open_dataset",
    "TrainConfig": "dimlift.studies.run_config",
    "StudyConfig": "dimlift.studies.run_config",
    "load_config": "dimlift.studies.load_config",
    "train_config": "dimlift.studies.defaults",
    "train": "dimlift.studies.train",
    "predict": "dimlift.inference.predict_files",
    "compare": "dimlift.studies.compare",
    "demo": "dimlift.studies.demo",
    "pull": "dimlift.inference.hub",
    "push": "dimlift.inference.hub",
    "Predictor": "dimlift.inference.predictor",
    "DimliftClassifier": "dimlift.integrations.sklearn",
    "DimliftSegmenter": "dimlift.integrations.sklearn",
    "export_onnx": "dimlift.integrations.onnx",
    "check": ("dimlift.data.quality.check_dataset", "check_dataset"),
    "summarise": "dimlift.report.summary",
    "write_report": "dimlift.report.page",  # not "report": the subpackage dimlift.report would shadow it
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"dimlift has no {name!r}; it has {', '.join(__all__)}")
    home = _HOMES[name]
    module, attribute = home if isinstance(home, tuple) else (home, name)
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
