"""What a run is when only its data set is named."""

import json
from collections.abc import Sequence
from pathlib import Path

from dimlift.experiments.config import TrainConfig
from dimlift.experiments.config_file import load_config

DEFAULTS = Path(__file__).with_name("defaults.yaml")
SECONDS = 600
"""Budget where none is given; in steps or seconds, a given one takes its place."""


def train_config(source: Path | str, overrides: Sequence[str] = ()) -> TrainConfig:
    """The configuration of a run.

    Args:
        source: a YAML configuration, or a data set (folder or CSV) to train on with `DEFAULTS`.
        overrides: `key.sub=value` pairs that win over the file.

    Raises:
        ConfigError: naming the file, the key, what was found and what was wanted.
    """
    if Path(source).suffix in (".yaml", ".yml"):
        return load_config(source, overrides, TrainConfig)
    # JSON is YAML too, and its quotes keep a folder called "2024" a text
    named = [f"dataset.path={json.dumps(str(source))}"]
    if not any(pair.startswith("budget.") for pair in overrides):
        named.append(f"budget.seconds={SECONDS}")
    return load_config(DEFAULTS, [*named, *overrides], TrainConfig)
