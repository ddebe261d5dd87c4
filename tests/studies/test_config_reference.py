"""docs/config.md and docs/reference.md are up to date, and the examples are valid."""

import itertools
from pathlib import Path

import pytest

import dimlift
from dimlift.methods.registry import METHODS, PRETRAINING
from dimlift.studies.config_reference import SECTIONS, config_page
from dimlift.studies.load_config import load_config
from dimlift.studies.pretrain_config import PretrainConfig
from dimlift.studies.run_config import StudyConfig, TrainConfig
from dimlift.studies.self_training.config import SelfTrainingConfig

ROOT = Path(__file__).parents[2]


def test_config_page_is_up_to_date():
    command = "run: python -m dimlift.studies.config_reference docs/config.md"
    assert (ROOT / "docs" / "config.md").read_text(encoding="utf-8") == config_page(), command


def test_config_page_describes_every_key():
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
            assert f"- `{name}` (" in page


def test_reference_lists_every_public_name():
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8").splitlines()
    homes = [getattr(dimlift, name) for name in dimlift.__all__]
    assert [home.__name__ for home in homes if f"::: {home.__module__}.{home.__qualname__}" not in page] == []


PRETRAIN_EXAMPLES = ("pretrain", "ppkt", "ppkt_scannet", "vdt", "distinit", "points", "medical_transformer")


@pytest.mark.parametrize("path", sorted(ROOT.glob("benchmarks/*.yaml")), ids=lambda path: path.name)
def test_benchmark_configs_are_valid(path):
    load_config(path, [], StudyConfig)


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*.yaml")), ids=lambda path: path.name)
def test_example_configs_are_valid(path):
    pretraining = dict.fromkeys((f"{name}.yaml" for name in PRETRAIN_EXAMPLES), PretrainConfig)
    models = {
        "train.yaml": TrainConfig,
        "tubevit.yaml": TrainConfig,
        "self_train.yaml": SelfTrainingConfig,
        **pretraining,
    }
    load_config(path, [], models.get(path.name, StudyConfig))


def test_transseg_ablations_are_complete():
    """Inflation x window x predicted slices x weights; with a window of one slice only the weights vary."""
    study = load_config(ROOT / "benchmarks" / "transseg.yaml", [], StudyConfig)
    met = {(a.inflation, a.window, a.predict, a.pretrained) for a in study.arms.values()}
    assert met == {
        *itertools.product(("centre", "average"), (3, 5, 7), ("centre", "all"), (True, False)),
        ("centre", 1, "centre", True),
        ("centre", 1, "centre", False),
    }
    assert len(met) == len(study.arms)
