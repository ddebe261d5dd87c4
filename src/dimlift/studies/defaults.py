"""Default configurations of `dimlift train DATASET`."""

from collections.abc import Sequence
from pathlib import Path

from dimlift.config.safe_yaml import read_yaml
from dimlift.data.datasets.point_cloud_index import is_point_cloud_dataset
from dimlift.data.datasets.point_clouds import infer_task
from dimlift.studies.load_config import apply_overrides, load_config, parse
from dimlift.studies.run_config import TrainConfig

DEFAULTS = Path(__file__).with_name("defaults.yaml")
SECONDS = 600
"""Budget if none is given, neither in steps nor in seconds."""


def train_config(source: Path | str, overrides: Sequence[str] = ()) -> TrainConfig:
    """Return the configuration of a run.

    Args:
        source: a YAML configuration, or a dataset (a folder, a CSV, ...) to train on with the default configuration.
        overrides: `key.sub=value` pairs that take precedence over the file.

    Raises:
        ConfigError: naming the file, the key, the value and what is expected.
        DataError: if the first point cloud cannot be read.
    """
    if Path(source).suffix in (".yaml", ".yml"):
        return load_config(source, overrides, TrainConfig)
    modality = "point_clouds" if is_point_cloud_dataset(Path(source)) else "volumes"
    raw = {**read_yaml(DEFAULTS.read_text(encoding="utf-8"))[modality], "dataset": {"path": str(source)}}
    if modality == "point_clouds" and not any(pair.startswith("task=") for pair in overrides):
        raw["task"] = infer_task(source)
    if not any(pair.startswith("budget.") for pair in overrides):
        raw["budget"] = {"seconds": SECONDS}
    apply_overrides(raw, overrides)
    # no source in error messages: the default file is valid, so an error is in the overrides
    return parse(raw, TrainConfig, source="")
