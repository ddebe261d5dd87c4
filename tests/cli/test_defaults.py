"""What `dimlift train DATASET` fills in."""

import pytest

from dimlift.experiments.defaults import SECONDS, train_config


@pytest.mark.parametrize("name", ["2024", "true", "a: b", "data/hippocampus"])
def test_a_data_set_keeps_its_name_whatever_yaml_would_read_into_it(name):
    assert train_config(name).dataset.path == name


def test_a_budget_takes_the_place_of_the_default_one():
    assert train_config("data").budget.seconds == SECONDS
    assert train_config("data", ["budget.steps=7"]).budget.steps == 7
    assert train_config("data", ["budget.steps=7"]).budget.seconds is None


def test_a_configuration_is_read_as_one(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("dataset: {path: data}\narm: {method: unet}\nbudget: {steps: 3}\n")
    config = train_config(path, ["seed=5"])
    assert (config.arm.method, config.budget.steps, config.seed) == ("unet", 3, 5)
