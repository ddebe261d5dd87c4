"""Learn without labels, leave weights, start an arm from them; a test case that was learnt from is refused."""

import shutil

import pytest
import torch

from dimlift.errors import ConfigError, DataError, WeightsError
from dimlift.inference.predictor import Trained
from dimlift.records.weights import read_weights
from dimlift.studies.load_config import parse
from dimlift.studies.pretrain import find_cases, pretrain
from dimlift.studies.pretrain_config import PretrainConfig
from dimlift.studies.train import train
from dimlift.training.initialise import start_from
from small_runs import train_config

UNET = {"method": "unet", "widths": [4, 8]}


def raw(data, **changes):
    return {
        "pretraining": {
            "method": "slice_distillation",
            "network": "packaged:efficientnet_lite0",
            "planes": ["depth"],
            "stages": [0, 1],
            "components": 4,
            "enlarge": 2.0,
        },
        "student": UNET,
        "volumes": {"path": str(data)},
        "split": {"folds": 3},
        "budget": {"steps": 3},
        "training": {"patch_size": [8, 8, 8], "batch_size": 1, "threads": 1, "device": "cpu"},
        **changes,
    }


@pytest.fixture(scope="module")
def pretrained(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("pretrained")
    pretrain(parse(raw(data), PretrainConfig), out)
    return out


def test_labels_are_not_looked_at(data, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(data / "images", bare / "images")
    config = parse(raw(bare, split=None), PretrainConfig)
    assert len(find_cases(config)) == 6
    assert all(case.label is None for case in find_cases(parse(raw(data), PretrainConfig)))


def test_an_arm_starts_from_what_was_learnt(data, pretrained, tmp_path):
    state, card = read_weights(pretrained / "weights")
    assert card["task"] == "pretraining"
    assert len(card["seen"]) == 4  # two of six cases test
    config = train_config(data, arm={**UNET, "start": str(pretrained / "weights")}, budget={"steps": 1})
    record = train(config, tmp_path / "run")
    (note,) = [note for note in record.extra["notes"] if "start from" in note]
    assert "new:" in note  # the last layer answers with other numbers of channels
    assert record.extra["pretraining"]["method"] == "slice_distillation"
    trained = Trained.load(tmp_path / "run" / "weights").method.model.state_dict()
    name = next(name for name, value in state.items() if value.ndim == 5)
    fresh = train(train_config(data, arm=UNET, budget={"steps": 1}), tmp_path / "fresh")
    other = Trained.load(tmp_path / "fresh" / "weights").method.model.state_dict()
    assert (trained[name] - state[name]).abs().max() < 0.1 * (other[name] - state[name]).abs().max()
    assert record.cell != fresh.cell


def test_a_test_case_that_was_learnt_from_is_refused(data, tmp_path):
    config = parse(raw(data, split=None, budget={"steps": 1}), PretrainConfig)
    pretrain(config, tmp_path / "pretrained")
    arm = {**UNET, "start": str(tmp_path / "pretrained" / "weights")}
    with pytest.raises(DataError, match="pretrained on"):
        train(train_config(data, arm=arm), tmp_path / "run")


def test_the_content_of_the_weights_names_the_run_not_their_place(data, pretrained, tmp_path):
    moved = shutil.copytree(pretrained / "weights", tmp_path / "moved")
    here, there = (train_config(data, arm={**UNET, "start": str(path)}) for path in (pretrained / "weights", moved))
    assert here.cell("m") == there.cell("m") != train_config(data, arm=UNET).cell("m")


def test_it_is_the_same_every_time_and_done_once(data, pretrained, tmp_path):
    pretrain(parse(raw(data), PretrainConfig), tmp_path)
    one, other = read_weights(pretrained / "weights")[0], read_weights(tmp_path / "weights")[0]
    assert all(torch.equal(one[name], other[name]) for name in one)
    events = []
    pretrain(parse(raw(data), PretrainConfig), tmp_path, events.append)
    assert events[-1].stage == "skip"


def test_weights_of_another_network_are_refused(data, pretrained):
    method = parse(raw(data, student={"method": "unet", "widths": [6, 12]}), PretrainConfig).student
    from dimlift.config.method_config import Task

    built = method.build(Task("segmentation", 1, 3, (1.0, 1.0, 1.0), (8, 8, 8)))
    with pytest.raises(WeightsError, match="no weight of"):
        start_from(built, pretrained / "weights")


def test_what_is_missing_is_named(data, tmp_path):
    with pytest.raises(ConfigError, match=r"volumes\.path"):
        parse({k: v for k, v in raw(data).items() if k != "volumes"}, PretrainConfig)
    with pytest.raises(DataError, match="dimlift pretrain"):
        train(train_config(data, arm={**UNET, "start": str(tmp_path)}), tmp_path / "run")
