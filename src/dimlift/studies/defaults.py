"""What a run is when only its data set is named."""

import json
from collections.abc import Sequence
from pathlib import Path

from dimlift.data.datasets.point_cloud_index import holds_clouds
from dimlift.data.datasets.point_clouds import labelled_task
from dimlift.studies.load_config import load_config
from dimlift.studies.run_config import TrainConfig

DEFAULTS = Path(__file__).with_name("defaults.yaml")
OF_CLOUDS = Path(__file__).with_name("defaults_clouds.yaml")
SECONDS = 600
"""Budget where none is given; in steps or seconds, a given one takes its place."""


def train_config(source: Path | str, overrides: Sequence[str] = ()) -> TrainConfig:
    """The configuration of a run.

    Args:
        source: a YAML configuration, or a data set (a folder, a table, ...) to train on with `DEFAULTS`;
            clouds of points (`holds_clouds`) with `OF_CLOUDS`.
        overrides: `key.sub=value` pairs that win over the file.

    Raises:
        ConfigError: naming the file, the key, what was found and what was wanted.
        DataError: if the first cloud cannot be read.
    """
    if Path(source).suffix in (".yaml", ".yml"):
        return load_config(source, overrides, TrainConfig)
    clouds = holds_clouds(Path(source))
    # JSON is YAML too, and its quotes keep a folder called "2024" a text
    named = [f"{'clouds' if clouds else 'dataset'}.path={json.dumps(str(source))}"]
    if clouds and not any(pair.startswith("task=") for pair in overrides):
        named.append(f"task={labelled_task(source)}")
    if not any(pair.startswith("budget.") for pair in overrides):
        named.append(f"budget.seconds={SECONDS}")
    # the defaults are right: a fault is in what was asked for beside them
    return load_config(OF_CLOUDS if clouds else DEFAULTS, [*named, *overrides], TrainConfig, source="")
