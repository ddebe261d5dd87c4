"""The arms that are reminded of photographs: run, measured, predicted with without photographs, refused clearly."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from dimlift.backbones.open_network import open_network
from dimlift.batch import VolumeBatch
from dimlift.config.method_config import Task
from dimlift.errors import ConfigError, DataError
from dimlift.inference.predictor import Trained
from dimlift.studies.train import train
from small_runs import train_config

PHOTOS = Path(__file__).parents[2].parent / "shared" / "data" / "imagenet_photos"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(8):
        coarse = Image.fromarray(rng.integers(0, 255, (4, 4, 3), dtype=np.uint8))
        coarse.resize((40, 40), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


def arm(photos, **changes):
    return {
        "method": "retrospect",
        "photos": str(photos),
        "photo_size": 32,
        "images_per_step": 2,
        "held_out": 4,
        "width": 8,
        **changes,
    }


def test_a_run_says_how_much_it_remembers_and_predicts_without_photographs(data, photos, tmp_path):
    mine = shutil.copytree(photos, tmp_path / "photos")
    record = train(train_config(data, arm=arm(mine), budget={"steps": 2}), tmp_path / "run")
    assert record.status == "finished"
    assert record.extra["memory_at_start"] == 1.0
    assert 0 <= record.extra["memory_kept"] <= 1
    assert record.extra["held_out_pictures"] == 4
    shutil.rmtree(mine)
    method = Trained.load(tmp_path / "run" / "weights").method
    assert method.path is None
    assert any("2D memory kept" in note for note in record.extra["notes"])


def test_no_photograph_is_both_learnt_from_and_asked_about(data, photos, tmp_path):
    section = train_config(data, arm=arm(photos, images_per_step=4)).arm
    drawn = {name for step in range(6) for name in section.beside(lambda _: None, 0)(step).pictures.cases}
    assert len(drawn) == 4
    method = section.build(Task("segmentation", 1, 3, (1.0, 1.0, 1.0), (8, 8, 8)))
    section.prepare(method, [], tmp_path)
    assert len(method.asked) == 4


def test_without_retention_no_photograph_is_shown(data, photos):
    section = train_config(data, arm=arm(photos, retention=0)).arm
    assert section.beside(len, 0) is len


def test_a_run_is_named_by_its_photographs_not_their_place(data, photos, tmp_path):
    moved = shutil.copytree(photos, tmp_path / "moved")
    config = train_config(data, arm=arm(photos))
    assert config.cell("m") == train_config(data, arm=arm(moved)).cell("m")
    (moved / "0.png").unlink()
    assert config.cell("m") != train_config(data, arm=arm(moved)).cell("m")


def test_a_slow_first_epoch_is_the_encoders_own_and_none_names_no_other_run(data, photos):
    plain, slow = (train_config(data, arm=arm(photos, encoder_warm_up=share)).arm for share in (0, 0.1))
    assert "encoder_warm_up" not in plain.without_names()
    assert slow.without_names()["encoder_warm_up"] == 0.1
    method = slow.build(Task("segmentation", 1, 3, (1.0, 1.0, 1.0), (8, 8, 8)))
    assert {g["name"]: g.get("warm_up") for g in method.parameter_groups(1.0)} == {"head": None, "encoder": 0.1}


def test_missing_photographs_are_named_before_anything_is_read(data, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder, said in ((tmp_path / "absent", "no folder of pictures"), (tmp_path / "empty", "holds no picture")):
        with pytest.raises(DataError, match=said):
            train(train_config(data, arm=arm(folder)), tmp_path / "run")
    with pytest.raises(ConfigError, match="photos"):
        train_config(data, arm={"method": "retrospect"})


def test_more_held_out_photographs_than_there_are_are_refused_by_key_and_folder(data, photos, tmp_path):
    with pytest.raises(DataError, match=rf"64 pictures .*held_out.* there are 8 .*{photos}.*held_out to 7"):
        train(train_config(data, arm=arm(photos, held_out=64)), tmp_path / "run")


def test_the_papers_preset_gives_way_to_what_is_said(data, photos):
    given = {"method": "simple3d_retrospect", "preset": "paper", "photos": str(photos), "cell": [4, 4, 4]}
    found = train_config(data, task="classification", arm=given).arm
    assert (found.stem, found.cell, found.retention, found.images_per_step) == ("group", (4, 4, 4), 0.1, 64)
    assert found.network.startswith("timm:deit_base")
    given = {"method": "retrospect", "preset": "paper", "photos": str(photos), "images_per_step": 8}
    assert (found := train_config(data, arm=given).arm).images_per_step == 8
    assert (found.retention, found.temperature, found.hard) == (0.1, 1.0, False)


def test_a_network_without_classes_is_refused(photos, data):
    section = train_config(data, arm=arm(photos, network="smp:Unet/resnet18", pretrained=False)).arm
    with pytest.raises(ConfigError, match="classifies pictures"):
        section.build(Task("segmentation", 1, 3, (1.0, 1.0, 1.0), (8, 8, 8)))


def test_voxel_tokens_are_reminded_too(photos, data, tmp_path):
    network, _ = open_network("timm:test_vit")
    save_file(network.state_dict(), tmp_path / "whole.safetensors")
    options = {"network": "timm:test_vit", "weights": str(tmp_path / "whole.safetensors"), "cell": [4, 4, 4]}
    whole = {"method": "simple3d_retrospect", "photos": str(photos), "photo_size": 160, "held_out": 4, **options}
    section = train_config(data, arm=whole, task="classification").arm
    method = section.build(Task("classification", 1, 3, (1.0, 1.0, 1.0), (8, 8, 8)))
    section.prepare(method, [], tmp_path)
    assert method.at_start == 1.0
    batch = section.beside(lambda step: VolumeBatch(torch.rand(1, 1, 8, 8, 8), torch.tensor([1]), ("a",)), 0)(0)
    method.loss(batch).backward()
    assert method.model.encoder.blocks[0].mlp.fc1.weight.grad.any()


@pytest.mark.skipif(not PHOTOS.is_dir(), reason=f"no photographs in {PHOTOS}")
def test_on_real_photographs_the_lifted_network_answers_as_its_teacher(data, tmp_path):
    section = train_config(data, arm=arm(PHOTOS, photo_size=128, held_out=24)).arm
    method = section.build(Task("segmentation", 1, 3, (1.0, 1.0, 1.0), (8, 8, 8)))
    section.prepare(method, [], tmp_path)
    assert method.at_start == 1.0
