"""A dataset, a configuration file, and the results that two runs are compared by."""

import json

import pytest
import yaml

from small_runs import train_raw, write_case

CLOCKS = ("seconds", "peak_bytes", "prediction_seconds", "feature_seconds", "cpu_seconds")


@pytest.fixture(scope="session")
def volumes(tmp_path_factory):
    """Six cases with two blobs each, in images/ and labels/."""
    folder = tmp_path_factory.mktemp("faults") / "blobs"
    for number in range(6):
        write_case(folder, f"case_{number}", number)
    return folder


@pytest.fixture
def config_file(volumes, tmp_path):
    """Return a function that writes the configuration of a small run with a checkpoint per step and augmentation."""

    def write(steps, **training):
        raw = train_raw(volumes, budget={"steps": steps})
        raw["training"] |= {"checkpoint_every": 1e-9, "val_interval": 0.3, "ema_decay": 0.9, "lr": 0.01, **training}
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(raw))
        return path

    return write


def run_results(run):
    """Return the weights as bytes, and the record without times and memory."""
    (record,) = (run / "records").glob("*.json")
    return (run / "weights" / "model.safetensors").read_bytes(), without_clocks(json.loads(record.read_text()))


def without_clocks(content):
    """Return JSON content without times and memory."""
    if isinstance(content, dict):
        return {key: without_clocks(value) for key, value in content.items() if key not in CLOCKS}
    return [without_clocks(value) for value in content] if isinstance(content, list) else content
