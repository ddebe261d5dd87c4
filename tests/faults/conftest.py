"""A data set, a configuration in a file, and what must be the same of two runs."""

import json

import pytest
import yaml

from small_runs import train_raw, write_case

CLOCKS = ("seconds", "peak_bytes", "prediction_seconds", "feature_seconds", "cpu_seconds")


@pytest.fixture(scope="session")
def volumes(tmp_path_factory):
    """Six cases of two blobs in images/ and labels/."""
    folder = tmp_path_factory.mktemp("faults") / "blobs"
    for number in range(6):
        write_case(folder, f"case_{number}", number)
    return folder


@pytest.fixture
def config_file(volumes, tmp_path):
    """A function that writes a configuration of a small run: every step saves, everything random is on."""

    def write(steps, **training):
        raw = train_raw(volumes, budget={"steps": steps})
        raw["training"] |= {"checkpoint_every": 1e-9, "validate_every": 0.3, "ema": 0.9, "rate": 0.01, **training}
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(raw))
        return path

    return write


def left_behind(run):
    """Weights as bytes, and the record without what a clock or the memory said."""
    (record,) = (run / "records").glob("*.json")
    return (run / "weights" / "model.safetensors").read_bytes(), _timeless(json.loads(record.read_text()))


def _timeless(content):
    if isinstance(content, dict):
        return {key: _timeless(value) for key, value in content.items() if key not in CLOCKS}
    return [_timeless(value) for value in content] if isinstance(content, list) else content
