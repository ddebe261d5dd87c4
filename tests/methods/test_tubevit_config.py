"""Videos and pictures in one run; then a wider network on the same kernels, behind a gate."""

import pytest
import torch
from PIL import Image

from dimlift.config.method_config import Task
from dimlift.errors import ConfigError, WeightsError
from dimlift.inference.predictor import Trained
from dimlift.methods.tubevit.config import TubeViTArm
from dimlift.records.weights import read_weights
from dimlift.studies.load_config import parse
from dimlift.studies.run_config import TrainConfig
from dimlift.studies.train import train

TUBES = [{"kernel": [4, 4, 4], "stride": [4, 8, 8]}, {"kernel": [1, 16, 16], "stride": [8, 16, 16]}]
ARM = {"method": "tubevit", "network": "timm:test_vit", "pretrained": False, "tubes": TUBES}
TASK = Task("classification", 3, 2, None, (8, 32, 32))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Six short videos of two classes, pictures of three, two steps."""
    pytest.importorskip("av")
    from small_videos import write_video

    folder = tmp_path_factory.mktemp("tubes")
    for number in range(6):
        write_video(folder / "videos" / ("run", "walk")[number % 2] / f"{number}.mp4", 8 + number, (32, 32))
        home = folder / "pictures" / ("cat", "dog", "eel")[number % 3]
        home.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 36), (40 * number, 20, 90)).save(home / f"{number}.png")
    raw = {
        "task": "classification",
        "dataset": {"path": str(folder / "videos")},
        "split": {"folds": 3},
        "arm": {**ARM, "pictures": str(folder / "pictures"), "picture_classes": 3, "picture_size": 32},
        "budget": {"steps": 2},
        "training": {"patch_size": [8, 32, 32], "batch_size": 2, "threads": 1, "device": "cpu"},
    }
    record = train(parse(raw, TrainConfig), folder / "run")
    return folder, record


def test_videos_and_pictures_are_learnt_in_one_run(run):
    folder, record = run
    assert record.steps == 2
    assert {score.metric for score in record.scores} >= {"accuracy"}
    trained = Trained.load(folder / "run" / "weights")
    drawn = TubeViTArm(**ARM, picture_classes=3, pictures="x").build(TASK)
    key = "model.picture_head.bias"
    assert trained.method.state_dict()[key].shape == drawn.state_dict()[key].shape == (3,)
    assert trained.method.state_dict()[key].abs().max() > 0  # the first layer starts random, the bias moves with steps


def test_a_wider_network_takes_the_kernels_and_starts_behind_a_closed_gate(run):
    folder, _ = run
    kernels = read_weights(folder / "run" / "weights")[0]
    arm = TubeViTArm(
        **{**ARM, "network": "timm:vit_tiny_patch16_224"}, tubes_from=str(folder / "run" / "weights"), wider=1
    )
    with pytest.raises(WeightsError, match="`wider`"):
        arm.build(TASK)
    arm = TubeViTArm(**{**ARM, "network": "timm:test_vit"}, tubes_from=str(folder / "run" / "weights"), gate_after=1)
    model = arm.build(TASK).model
    for number in range(2):
        assert torch.equal(model.tokenizer.kernels[number], kernels[f"model.tokenizer.kernels.{number}"])
    assert model.alpha == 0
    wide = TubeViTArm(**ARM, wider=2).build(TASK).model
    assert [len(k) for k in wide.tokenizer.kernels] == [32, 32]
    assert wide(torch.randn(1, 3, 8, 32, 32)).shape == (1, 2)


def test_tubes_start_from_the_patch_embedding():
    arm = TubeViTArm(**ARM)
    torch.manual_seed(0)
    model = arm.build(TASK).model
    flat = model.tokenizer.kernels[1][:, :, 0]
    deep = model.tokenizer.kernels[0]
    torch.testing.assert_close(deep.sum((2, 3, 4)), flat.sum((2, 3)), rtol=1e-4, atol=1e-5)


def test_the_preset_is_the_papers_and_keys_win():
    arm = TubeViTArm(preset="paper", pool="network")
    assert arm.tubes == "four_split"
    assert arm.pool == "network"
    assert "vit_base" in arm.network


def test_what_does_not_go_together_is_refused(run):
    folder, _ = run
    with pytest.raises(ValueError, match="picture_classes"):
        TubeViTArm(**ARM, pictures="x")
    wrong = TubeViTArm(**ARM, pictures=str(folder / "pictures"), picture_classes=4)
    with pytest.raises(ConfigError, match="3 folders"):
        wrong.beside(lambda step: None, 0)
    with pytest.raises(ConfigError, match="one answer for a volume"):
        TubeViTArm(**ARM).build(Task("segmentation", 1, 3, None, (8, 32, 32)))
