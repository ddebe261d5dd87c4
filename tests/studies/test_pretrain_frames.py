"""`dimlift pretrain` on RGB-D frames: what is learnt from, what is counted, what is left."""

import sys
from pathlib import Path

import pytest
import torch

from dimlift.errors import ConfigError, DataError
from dimlift.methods.points.ppkt_config import PPKTPretraining
from dimlift.records.weights import read_weights
from dimlift.studies.load_config import parse
from dimlift.studies.pretrain import find_pool_frames, pretrain
from dimlift.studies.pretrain_config import PretrainConfig

sys.path.insert(0, str(Path(__file__).parents[1]))
from small_frames import write_recording


def raw(folder, method="ppkt", **changes):
    return {
        "pretraining": {"method": method, "network": "timm:test_resnet", "share": 0.1, "depth": 18, "voxel": 0.1},
        "frames": {"path": str(folder), "stride": 4, "pairs": 32},
        "budget": {"steps": 2},
        "training": {"batch_size": 2, "threads": 1, "device": "cpu"},
        **changes,
    }


@pytest.fixture
def room(tmp_path):
    return write_recording(tmp_path / "room")


def test_a_pretraining_leaves_the_point_network_and_counts_its_frames(room, tmp_path):
    record = pretrain(parse(raw(room), PretrainConfig), tmp_path / "out")
    assert (record.extra["frames"], record.extra["bad_frames"]) == (3, 0)
    assert "registered" in record.extra["registration"]
    state, card = read_weights(tmp_path / "out" / "weights")
    assert card["pretraining"]["voxel"] == 0.1
    assert any(value.ndim == 3 and len(value) == 27 for value in state.values())
    assert not any("head" in name.split(".")[0] for name in state)
    again = pretrain(parse(raw(room), PretrainConfig), tmp_path / "again")
    assert again.cell == record.cell
    other = read_weights(tmp_path / "again" / "weights")[0]
    assert all(torch.equal(value, other[name]) for name, value in state.items())


def test_bad_frames_stop_it_or_are_counted(room, tmp_path):
    (room / "frame-000001.pose.txt").unlink()
    with pytest.raises(DataError, match="skip-bad"):
        pretrain(parse(raw(room), PretrainConfig), tmp_path / "out")
    skipping = raw(room, frames={"path": str(room), "skip_bad": True, "pairs": 32})
    record = pretrain(parse(skipping, PretrainConfig), tmp_path / "out")
    assert (record.extra["frames"], record.extra["bad_frames"]) == (2, 1)
    assert "frame-000001" in record.extra["left_out"][0]


def test_what_does_not_belong_together_is_refused(room):
    with pytest.raises(ConfigError, match=r"frames\.path"):
        parse({k: v for k, v in raw(room).items() if k != "frames"}, PretrainConfig)
    with pytest.raises(ConfigError, match="take 'student' out"):
        parse(raw(room, student={"method": "unet"}), PretrainConfig)
    with pytest.raises(ConfigError, match="'student' is missing"):
        parse({**raw(room), "pretraining": {"method": "slice_distillation"}, "volumes": {"path": "x"}}, PretrainConfig)


def test_frames_that_are_not_there_are_not_learnt_from(room, tmp_path):
    config = parse(raw(room, frames={"path": str(room), "first": 9}), PretrainConfig)
    with pytest.raises(DataError, match="3 frames, none from frame 9"):
        pretrain(config, tmp_path / "out")


@pytest.mark.parametrize(
    ("preset", "wanted"),
    [
        ("paper", {"dimensions": 128, "temperature": 0.04, "voxel": 0.025, "depth": 34, "objective": "pixels"}),
        ("slidr_port", {"dimensions": 64, "temperature": 0.07, "objective": "pixels"}),
        ("slidr", {"dimensions": 64, "temperature": 0.07, "objective": "superpixels", "superpixels": 150}),
    ],
)
def test_presets_of_pixels_are_the_papers_and_keys_win(preset, wanted):
    section = PPKTPretraining.model_validate({"method": "ppkt", "preset": preset})
    assert {key: getattr(section, key) for key in wanted} == wanted
    assert PPKTPretraining.model_validate({"method": "ppkt", "preset": preset, "dimensions": 7}).dimensions == 7


def test_each_second_frame_and_an_identity_that_knows_it(room):
    frames = raw(room)["frames"]
    plain, first, second = (
        parse(raw(room, frames={**frames, **more}), PretrainConfig) for more in ({}, {"every": 1}, {"every": 2})
    )
    assert [frame.name for frame in find_pool_frames(second)[0]] == ["frame-000000", "frame-000002"]
    assert len(find_pool_frames(plain)[0]) == 3
    assert plain.identity("m") == first.identity("m") != second.identity("m")
