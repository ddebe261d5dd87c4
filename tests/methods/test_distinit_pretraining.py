"""DistInit from a configuration to an arm that is initialised from the result."""

import pytest
from safetensors.torch import save_file

from dimlift.backbones.factory import create_backbone
from dimlift.errors import ConfigError, WeightsError
from dimlift.records.weights import read_weights
from dimlift.studies.load_config import parse
from dimlift.studies.pretrain import pretrain
from dimlift.studies.pretrain_config import PretrainConfig
from dimlift.studies.train import train
from small_runs import train_config

ARM = {"method": "lifted", "network": "timm:test_resnet", "pretrained": False, "decoder_channels": 8}


@pytest.fixture(scope="module")
def raw(data, tmp_path_factory):
    """Two teachers, one of them of 1000 classes, one from a file."""
    folder = tmp_path_factory.mktemp("weights")
    save_file(create_backbone("timm:test_resnet")[0].state_dict(), folder / "other.safetensors")
    second = {"network": "timm:test_resnet", "weights": str(folder / "other.safetensors")}
    return {
        "pretraining": {
            "method": "distinit",
            "teachers": [{"network": "packaged:efficientnet_lite0"}, second],
            "image_size": 64,
        },
        "arm": ARM,
        "dataset": {"path": str(data)},
        "split": {"folds": 3},
        "budget": {"steps": 2},
        "training": {"patch_size": [8, 8, 8], "batch_size": 2, "num_threads": 1, "device": "cpu"},
    }


def test_distinit_initialises_a_segmentation_arm(data, raw, tmp_path):
    pretrain(parse(raw, PretrainConfig), tmp_path / "pretrained")
    state, card = read_weights(tmp_path / "pretrained" / "weights")
    assert card["method"] == "distinit"
    (head,) = [value for name, value in state.items() if name.startswith("head.") and value.ndim == 2]
    assert len(head) == 2000  # a head of 1000 classes for each teacher
    arm = {**ARM, "init_from": str(tmp_path / "pretrained" / "weights")}
    record = train(train_config(data, arm=arm, budget={"steps": 1}), tmp_path / "run")
    assert any("start from" in note for note in record.extra["notes"])


def test_distinit_rejects_an_arm_for_segmentation_only(raw, tmp_path):
    config = parse({**raw, "arm": {"method": "unet", "widths": [4, 8]}}, PretrainConfig)
    with pytest.raises(ConfigError, match="segmentation only"):
        pretrain(config, tmp_path / "run")


def test_distinit_rejects_a_teacher_without_local_weights(raw, tmp_path):
    absent = {**raw["pretraining"], "teachers": [{"network": "timm:vit_tiny_patch16_224"}]}
    config = parse({**raw, "pretraining": absent}, PretrainConfig)
    with pytest.raises(WeightsError, match="not on this machine"):
        pretrain(config, tmp_path / "run")
