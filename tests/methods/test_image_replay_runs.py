"""Runs of the image replay methods."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from dimlift.backbones.factory import create_backbone
from dimlift.batch import VolumeBatch
from dimlift.config.method_config import TaskSpec
from dimlift.errors import ConfigError, DataError
from dimlift.inference.predictor import Predictor
from dimlift.studies.train import train
from small_runs import train_config

IMAGENET = Path(__file__).parents[2].parent / "shared" / "data" / "imagenet_photos"


@pytest.fixture(scope="module")
def image_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(8):
        coarse = Image.fromarray(rng.integers(0, 255, (4, 4, 3), dtype=np.uint8))
        coarse.resize((40, 40), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


def arm(image_dir, **changes):
    return {
        "method": "image_replay",
        "image_dir": str(image_dir),
        "image_crop_size": 32,
        "image_batch_size": 2,
        "num_val_images": 4,
        "decoder_channels": 8,
        **changes,
    }


def test_image_replay_run_reports_agreement_and_predicts_without_images(data, image_dir, tmp_path):
    copy = shutil.copytree(image_dir, tmp_path / "images")
    record = train(train_config(data, arm=arm(copy), budget={"steps": 2}), tmp_path / "run")
    assert record.status == "finished"
    assert record.extra["initial_teacher_agreement"] == 1.0
    assert 0 <= record.extra["teacher_agreement"] <= 1
    assert record.extra["num_val_images"] == 4
    shutil.rmtree(copy)
    method = Predictor.load(tmp_path / "run" / "weights").method
    assert method.branch is None
    assert any("teacher agreement" in note for note in record.extra["notes"])


def test_image_replay_separates_training_and_validation_images(data, image_dir, tmp_path):
    section = train_config(data, arm=arm(image_dir, image_batch_size=4)).arm
    sampled = {name for step in range(6) for name in section.wrap_batches(lambda _: None, 0)(step).images.cases}
    assert len(sampled) == 4
    method = section.build(TaskSpec("segmentation", 1, 3, (1.0, 1.0, 1.0), (8, 8, 8)))
    section.prepare(method, [], tmp_path)
    assert len(method.probe_images) == 4


def test_image_replay_adds_no_images_at_weight_zero(data, image_dir):
    section = train_config(data, arm=arm(image_dir, distill_weight=0)).arm
    assert section.wrap_batches(len, 0) is len


def test_image_replay_run_id_depends_on_the_images_not_their_path(data, image_dir, tmp_path):
    moved = shutil.copytree(image_dir, tmp_path / "moved")
    config = train_config(data, arm=arm(image_dir))
    assert config.run_id("m") == train_config(data, arm=arm(moved)).run_id("m")
    (moved / "0.png").unlink()
    assert config.run_id("m") != train_config(data, arm=arm(moved)).run_id("m")


def test_encoder_warmup_fraction_applies_to_the_encoder_group(data, image_dir):
    section = train_config(data, arm=arm(image_dir, encoder_warmup_fraction=0.1)).arm
    method = section.build(TaskSpec("segmentation", 1, 3, (1.0, 1.0, 1.0), (8, 8, 8)))
    assert {g["name"]: g.get("warmup_fraction") for g in method.param_groups(1.0)} == {"head": None, "encoder": 0.1}


def test_image_replay_rejects_missing_images(data, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder, message in ((tmp_path / "absent", "does not exist"), (tmp_path / "empty", "holds no image")):
        with pytest.raises(DataError, match=message):
            train(train_config(data, arm=arm(folder)), tmp_path / "run")
    with pytest.raises(ConfigError, match="image_dir"):
        train_config(data, arm={"method": "image_replay"})


def test_image_replay_rejects_too_many_validation_images(data, image_dir, tmp_path):
    with pytest.raises(
        DataError, match=rf"64 validation .*num_val_images.* there are 8 .*{image_dir}.*num_val_images to 7"
    ):
        train(train_config(data, arm=arm(image_dir, num_val_images=64)), tmp_path / "run")


def test_image_replay_preset_yields_to_explicit_keys(data, image_dir):
    options = {
        "method": "simple3d_image_replay",
        "preset": "paper",
        "image_dir": str(image_dir),
        "patch_size": [4, 4, 4],
    }
    section = train_config(data, task="classification", arm=options).arm
    assert (section.tokenizer, section.patch_size, section.distill_weight, section.image_batch_size) == (
        "group",
        (4, 4, 4),
        0.1,
        64,
    )
    assert section.network.startswith("timm:deit_base")
    options = {"method": "image_replay", "preset": "paper", "image_dir": str(image_dir), "image_batch_size": 8}
    assert (section := train_config(data, arm=options).arm).image_batch_size == 8
    assert (section.distill_weight, section.temperature, section.hard_labels) == (0.1, 1.0, False)


def test_image_replay_rejects_a_network_without_classes(image_dir, data):
    section = train_config(data, arm=arm(image_dir, network="smp:Unet/resnet18", pretrained=False)).arm
    with pytest.raises(ConfigError, match="image classifier"):
        section.build(TaskSpec("segmentation", 1, 3, (1.0, 1.0, 1.0), (8, 8, 8)))


def test_simple3d_image_replay_trains_the_encoder(image_dir, data, tmp_path):
    network, _ = create_backbone("timm:test_vit")
    save_file(network.state_dict(), tmp_path / "options.safetensors")
    options = {"network": "timm:test_vit", "weights": str(tmp_path / "options.safetensors"), "patch_size": [4, 4, 4]}
    options = {
        "method": "simple3d_image_replay",
        "image_dir": str(image_dir),
        "image_crop_size": 160,
        "num_val_images": 4,
        **options,
    }
    section = train_config(data, arm=options, task="classification").arm
    method = section.build(TaskSpec("classification", 1, 3, (1.0, 1.0, 1.0), (8, 8, 8)))
    section.prepare(method, [], tmp_path)
    assert method.initial_agreement == 1.0
    batch = section.wrap_batches(lambda step: VolumeBatch(torch.rand(1, 1, 8, 8, 8), torch.tensor([1]), ("a",)), 0)(0)
    method.loss(batch).backward()
    assert method.model.encoder.blocks[0].mlp.fc1.weight.grad.any()


@pytest.mark.skipif(not IMAGENET.is_dir(), reason=f"no images in {IMAGENET}")
def test_image_replay_initial_agreement_is_one_on_real_images(data, tmp_path):
    section = train_config(data, arm=arm(IMAGENET, image_crop_size=128, num_val_images=24)).arm
    method = section.build(TaskSpec("segmentation", 1, 3, (1.0, 1.0, 1.0), (8, 8, 8)))
    section.prepare(method, [], tmp_path)
    assert method.initial_agreement == 1.0
