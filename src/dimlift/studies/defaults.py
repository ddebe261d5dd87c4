"""Default configurations of `dimlift train DATASET` and `dimlift compare DATASET`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dimlift.config.safe_yaml import read_yaml
from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.datasets.point_cloud_index import is_point_cloud_dataset
from dimlift.data.datasets.point_clouds import infer_task
from dimlift.errors import ConfigError
from dimlift.studies.load_config import apply_overrides, load_config, parse
from dimlift.studies.run_config import StudyConfig, TrainConfig

DEFAULTS, STUDIES = (Path(__file__).with_name(name) for name in ("defaults.yaml", "default_study.yaml"))
SECONDS = 600
"""Budget if none is given, neither in steps nor in seconds."""


def train_config(source: Path | str, overrides: Sequence[str] = ()) -> TrainConfig:
    """Return the configuration of a run.

    Args:
        source: a YAML configuration, or a dataset (a folder, a CSV, ...) to train on with the default configuration.
        overrides: `key.sub=value` pairs that take precedence over the file.

    Raises:
        ConfigError: naming the file, the key, the value and what is expected.
        DataError: if the files have no known layout, or the first point cloud cannot be read.
    """
    if Path(source).suffix in (".yaml", ".yml"):
        return load_config(source, overrides, TrainConfig)
    given: dict[str, Any] = {"dataset": {"path": str(source)}}
    apply_overrides(given, overrides)
    modality, task = _detect(Path(source), given)
    defaults = read_yaml(DEFAULTS.read_text(encoding="utf-8"))
    raw = {**defaults[modality].get(task, defaults[modality]["segmentation"]), "dataset": {"path": str(source)}}
    raw["task"] = task
    arm = given.get("arm")
    if isinstance(arm, dict) and arm.get("method", raw["arm"]["method"]) != raw["arm"]["method"]:
        raw["arm"] = {}  # the options of the default method do not apply to another
    if not any(pair.startswith("budget.") for pair in overrides):
        raw["budget"] = {"seconds": SECONDS}
    apply_overrides(raw, overrides)
    # no source in error messages: the default file is valid, so an error is in the overrides
    return parse(raw, TrainConfig, source="")


def study_config(source: Path | str, overrides: Sequence[str] = ()) -> StudyConfig:
    """Return the configuration of a study.

    Args:
        source: a YAML configuration, or a dataset of volumes to compare the default arms on.
        overrides: `key.sub=value` pairs that take precedence.

    Raises:
        ConfigError: as `train_config`, and for a dataset of point clouds.
        DataError: if the files have no known layout.
    """
    if Path(source).suffix in (".yaml", ".yml"):
        return load_config(source, overrides, StudyConfig)
    given: dict[str, Any] = {"dataset": {"path": str(source)}}
    apply_overrides(given, overrides)
    modality, task = _detect(Path(source), given)
    if modality != "volumes":
        raise ConfigError(
            f"{source} holds point clouds, for which no pretrained weights are packaged; name the arms in a file: "
            "`dimlift examples scans.yaml` writes one to start from"
        )
    studies = read_yaml(STUDIES.read_text(encoding="utf-8"))
    raw = {**studies.get(task, studies["segmentation"]), "dataset": {"path": str(source)}, "task": task}
    if not any(pair.startswith("budget.") for pair in overrides):
        raw["budget"] = {"seconds": SECONDS}
    apply_overrides(raw, overrides)
    return parse(raw, StudyConfig, source="")


def describe_plan(config: StudyConfig, max_jobs: int = 1) -> str:
    """Return the number of runs of a study and the time they take."""
    external = [name for name, arm in config.arms.items() if arm.method == "external"]
    arms = len(config.arms) - len(external)
    repeats = len(config.seeds) * len(config.folds) * len(config.train_sizes)
    start = f"{arms * repeats} runs ({arms} arms x {repeats} of seed, cv fold and training size)"
    if config.budget.seconds is None:
        return f"{start} of {config.budget.steps} steps each"
    total = arms * repeats * config.budget.seconds / max_jobs
    jobs = "one after the other" if max_jobs == 1 else f"{max_jobs} at a time"
    return f"{start} of {config.budget.seconds:g} s, {jobs}: {total / 60:.0f} min, and prediction of the test cases"


def _detect(source: Path, given: Mapping[str, Any]) -> tuple[str, str]:
    """Return the modality of a dataset and its task, unless an override states the task.

    Args:
        source: the dataset; one that does not exist is left to `open_dataset`.
        given: the overrides.

    Raises:
        DataError: if no layout matches, or the first point cloud cannot be read.
    """
    stated = given.get("task")
    section = given["dataset"] if isinstance(given["dataset"], dict) else {}
    if is_point_cloud_dataset(source):
        options = given.get("point_clouds")
        columns = options.get("columns", ()) if isinstance(options, dict) else ()
        return "point_clouds", str(stated or infer_task(source, columns))
    if not source.exists() or stated is not None:
        return "volumes", str(stated or "segmentation")
    dataset = open_dataset(source, section.get("layout", "auto"))
    return dataset.modality, dataset.task
