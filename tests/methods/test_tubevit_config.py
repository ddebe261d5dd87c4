"""Runs of TubeViT on videos and images."""

import pytest
import torch
from PIL import Image

from dimlift.config.method_config import TaskSpec
from dimlift.errors import ConfigError, WeightsError
from dimlift.inference.predictor import Predictor
from dimlift.methods.tubevit.config import TubeViTConfig
from dimlift.records.weights import read_weights
from dimlift.studies.load_config import parse
from dimlift.studies.run_config import TrainConfig
from dimlift.studies.train import train

TUBES = [{"kernel": [4, 4, 4], "stride": [4, 8, 8]}, {"kernel": [1, 16, 16], "stride": [8, 16, 16]}]
ARM = {"method": "tubevit", "network": "timm:test_vit", "pretrained": False, "tubes": TUBES}
TASK = TaskSpec("classification", 3, 2, None, (8, 32, 32))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Six short videos of two classes, images of three, two steps."""
    pytest.importorskip("av")
    from small_videos import write_video

    folder = tmp_path_factory.mktemp("tubes")
    for number in range(6):
        write_video(folder / "videos" / ("run", "walk")[number % 2] / f"{number}.mp4", 8 + number, (32, 32))
        home = folder / "images" / ("cat", "dog", "eel")[number % 3]
        home.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 36), (40 * number, 20, 90)).save(home / f"{number}.png")
    raw = {
        "task": "classification",
        "dataset": {"path": str(folder / "videos")},
        "split": {"folds": 3},
        "arm": {**ARM, "image_dir": str(folder / "images"), "num_image_classes": 3, "image_crop_size": 32},
        "budget": {"steps": 2},
        "training": {"patch_size": [8, 32, 32], "batch_size": 2, "num_threads": 1, "device": "cpu"},
    }
    record = train(parse(raw, TrainConfig), folder / "run")
    return folder, record


def test_tubevit_trains_on_videos_and_images(run):
    folder, record = run
    assert record.steps == 2
    assert {score.metric for score in record.scores} >= {"accuracy"}
    trained = Predictor.load(folder / "run" / "weights")
    built = TubeViTConfig(**ARM, num_image_classes=3, image_dir="x").build(TASK)
    key = "model.image_head.bias"
    assert trained.method.state_dict()[key].shape == built.state_dict()[key].shape == (3,)
    assert trained.method.state_dict()[key].abs().max() > 0  # trained


def test_tube_init_loads_kernels_and_gate_is_zero_initialised(run):
    folder, _ = run
    kernels = read_weights(folder / "run" / "weights")[0]
    arm = TubeViTConfig(
        **{**ARM, "network": "timm:vit_tiny_patch16_224"}, tube_init=str(folder / "run" / "weights"), width_multiplier=1
    )
    with pytest.raises(WeightsError, match="`width_multiplier`"):
        arm.build(TASK)
    arm = TubeViTConfig(
        **{**ARM, "network": "timm:test_vit"}, tube_init=str(folder / "run" / "weights"), gate_from_block=1
    )
    model = arm.build(TASK).model
    for number in range(2):
        assert torch.equal(model.tokenizer.kernels[number], kernels[f"model.tokenizer.kernels.{number}"])
    assert model.alpha == 0
    wide = TubeViTConfig(**ARM, width_multiplier=2).build(TASK).model
    assert [len(k) for k in wide.tokenizer.kernels] == [32, 32]
    assert wide(torch.randn(1, 3, 8, 32, 32)).shape == (1, 2)


def test_tubes_are_initialised_from_the_patch_embedding():
    arm = TubeViTConfig(**ARM)
    torch.manual_seed(0)
    model = arm.build(TASK).model
    flat = model.tokenizer.kernels[1][:, :, 0]
    deep = model.tokenizer.kernels[0]
    torch.testing.assert_close(deep.sum((2, 3, 4)), flat.sum((2, 3)), rtol=1e-4, atol=1e-5)


def test_tubevit_preset_yields_to_explicit_keys():
    arm = TubeViTConfig(preset="paper", pool="network")
    assert arm.tubes == "four_split"
    assert arm.pool == "network"
    assert "vit_base" in arm.network


def test_tubevit_rejects_inconsistent_options(run):
    folder, _ = run
    with pytest.raises(ValueError, match="num_image_classes"):
        TubeViTConfig(**ARM, image_dir="x")
    config = TubeViTConfig(**ARM, image_dir=str(folder / "images"), num_image_classes=4)
    with pytest.raises(ConfigError, match="3 folders"):
        config.wrap_batches(lambda step: None, 0)
    with pytest.raises(ConfigError, match="one output per volume"):
        TubeViTConfig(**ARM).build(TaskSpec("segmentation", 1, 3, None, (8, 32, 32)))
