"""Pretraining on volumes, and arms initialised from the result."""

import shutil

import pytest
import torch

from dimlift.errors import ConfigError, DataError, WeightsError
from dimlift.inference.predictor import Predictor
from dimlift.records.weights import read_weights
from dimlift.studies.load_config import parse
from dimlift.studies.pretrain import pretrain
from dimlift.studies.pretrain_config import PretrainConfig
from dimlift.studies.pretraining_data import find_cases
from dimlift.studies.train import train
from dimlift.training.initialise import init_from_weights
from small_runs import train_config

UNET = {"method": "unet", "widths": [4, 8]}


def raw(data, **changes):
    return {
        "pretraining": {
            "method": "slice_distillation",
            "network": "packaged:efficientnet_lite0",
            "planes": ["depth"],
            "stages": [0, 1],
            "num_components": 4,
            "upsample": 2.0,
        },
        "arm": UNET,
        "dataset": {"path": str(data)},
        "split": {"folds": 3},
        "budget": {"steps": 3},
        "training": {"patch_size": [8, 8, 8], "batch_size": 1, "num_threads": 1, "device": "cpu"},
        **changes,
    }


@pytest.fixture(scope="module")
def pretrained(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("pretrained")
    pretrain(parse(raw(data), PretrainConfig), out)
    return out


def test_pretraining_ignores_labels(data, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(data / "images", bare / "images")
    config = parse(raw(bare, split=None), PretrainConfig)
    assert len(find_cases(config)) == 6
    assert all(case.label is None for case in find_cases(parse(raw(data), PretrainConfig)))


def test_arm_is_initialised_from_pretrained_weights(data, pretrained, tmp_path):
    state, card = read_weights(pretrained / "weights")
    assert card["task"] == "pretraining"
    assert len(card["seen"]) == 4  # two of six are test cases
    config = train_config(data, arm={**UNET, "init_from": str(pretrained / "weights")}, budget={"steps": 1})
    record = train(config, tmp_path / "run")
    (note,) = [note for note in record.extra["notes"] if "start from" in note]
    assert "new:" in note  # the last layer has another number of channels
    assert record.extra["pretraining"]["method"] == "slice_distillation"
    trained = Predictor.load(tmp_path / "run" / "weights").method.model.state_dict()
    name = next(name for name, value in state.items() if value.ndim == 5)
    scratch = train(train_config(data, arm=UNET, budget={"steps": 1}), tmp_path / "scratch")
    other = Predictor.load(tmp_path / "scratch" / "weights").method.model.state_dict()
    assert (trained[name] - state[name]).abs().max() < 0.1 * (other[name] - state[name]).abs().max()
    assert record.run_id != scratch.run_id


def test_train_rejects_test_cases_seen_in_pretraining(data, tmp_path):
    config = parse(raw(data, split=None, budget={"steps": 1}), PretrainConfig)
    pretrain(config, tmp_path / "pretrained")
    arm = {**UNET, "init_from": str(tmp_path / "pretrained" / "weights")}
    with pytest.raises(DataError, match="used in the pretraining"):
        train(train_config(data, arm=arm), tmp_path / "run")


def test_run_id_depends_on_pretrained_weights_not_their_path(data, pretrained, tmp_path):
    moved = shutil.copytree(pretrained / "weights", tmp_path / "moved")
    here, there = (train_config(data, arm={**UNET, "init_from": str(path)}) for path in (pretrained / "weights", moved))
    assert here.run_id("m") == there.run_id("m") != train_config(data, arm=UNET).run_id("m")


def test_pretraining_is_deterministic_and_skips_finished_runs(data, pretrained, tmp_path):
    pretrain(parse(raw(data), PretrainConfig), tmp_path)
    one, other = read_weights(pretrained / "weights")[0], read_weights(tmp_path / "weights")[0]
    assert all(torch.equal(one[name], other[name]) for name in one)
    events = []
    pretrain(parse(raw(data), PretrainConfig), tmp_path, events.append)
    assert events[-1].stage == "skip"


def test_init_from_weights_rejects_another_network(data, pretrained):
    method = parse(raw(data, arm={"method": "unet", "widths": [6, 12]}), PretrainConfig).arm
    from dimlift.config.method_config import TaskSpec

    built = method.build(TaskSpec("segmentation", 1, 3, (1.0, 1.0, 1.0), (8, 8, 8)))
    with pytest.raises(WeightsError, match="no weight of"):
        init_from_weights(built.trainable_network(), pretrained / "weights")


def test_pretraining_names_missing_data(data, tmp_path):
    with pytest.raises(ConfigError, match=r"dataset\.path"):
        parse({k: v for k, v in raw(data).items() if k != "dataset"}, PretrainConfig)
    with pytest.raises(DataError, match="dimlift pretrain"):
        train(train_config(data, arm={**UNET, "init_from": str(tmp_path)}), tmp_path / "run")
