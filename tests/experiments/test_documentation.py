"""docs/config.md says what the program says; the examples can be read by it."""

from pathlib import Path

import pytest

from dimlift.experiments.config import StudyConfig, TrainConfig
from dimlift.experiments.config_file import load_config
from dimlift.experiments.documentation import SECTIONS, config_page
from dimlift.experiments.pretraining.config import PretrainConfig
from dimlift.experiments.tables import METHODS, PRETRAINING

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date():
    remedy = "run: python -m dimlift.experiments.documentation docs/config.md"
    assert (ROOT / "docs" / "config.md").read_text(encoding="utf-8") == config_page(), remedy


def test_every_key_stands_on_the_page_with_a_meaning():
    page = config_page()
    for model in (
        TrainConfig,
        StudyConfig,
        PretrainConfig,
        *SECTIONS.values(),
        *METHODS.values(),
        *PRETRAINING.values(),
    ):
        for name, field in model.model_fields.items():
            assert field.description
            assert f"| `{name}` |" in page


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("train.yaml", TrainConfig),
        ("study.yaml", StudyConfig),
        ("transseg.yaml", StudyConfig),
        ("pretrain.yaml", PretrainConfig),
    ],
)
def test_the_examples_are_valid(name, model):
    load_config(ROOT / "examples" / name, [], model)
