"""Pretraining on RGB-D frames."""

import pytest
import torch

from dimlift.errors import ConfigError, DataError
from dimlift.methods.ppkt.pretraining import PPKTPretraining
from dimlift.records.weights import read_weights
from dimlift.studies.load_config import parse
from dimlift.studies.pretrain import pretrain
from dimlift.studies.pretrain_config import PretrainConfig
from dimlift.studies.pretraining_data import find_frame_files
from dimlift.training.initialise import require_same_up_axis
from small_frames import write_recording


def raw(folder, method="ppkt", **changes):
    return {
        "pretraining": {
            "method": method,
            "network": "timm:test_resnet",
            "width_multiplier": 0.1,
            "depth": 18,
            "voxel_size": 0.1,
        },
        "frames": {"path": str(folder), "stride": 4, "num_pairs": 32},
        "budget": {"steps": 2},
        "training": {"batch_size": 2, "num_threads": 1, "device": "cpu"},
        **changes,
    }


@pytest.fixture
def room(tmp_path):
    return write_recording(tmp_path / "room")


def test_frame_pretraining_saves_the_point_network(room, tmp_path):
    record = pretrain(parse(raw(room), PretrainConfig), tmp_path / "out")
    assert record.extra["frames"] == 3
    assert "corrupt_files" not in record.extra
    assert "registered" in record.extra["registration"]
    state, card = read_weights(tmp_path / "out" / "weights")
    assert card["pretraining"]["voxel_size"] == 0.1
    assert card["up_axis"] == "y"
    require_same_up_axis(tmp_path / "out" / "weights", "y")
    with pytest.raises(DataError, match=r"pretrained with y up, point_clouds\.up_axis is z"):
        require_same_up_axis(tmp_path / "out" / "weights", "z")
    assert any(value.ndim == 3 and len(value) == 27 for value in state.values())
    assert not any("head" in name.split(".")[0] for name in state)
    again = pretrain(parse(raw(room), PretrainConfig), tmp_path / "again")
    assert again.run_id == record.run_id
    other = read_weights(tmp_path / "again" / "weights")[0]
    assert all(torch.equal(value, other[name]) for name, value in state.items())


def test_frame_pretraining_rejects_or_counts_corrupt_frames(room, tmp_path):
    (room / "frame-000001.pose.txt").unlink()
    with pytest.raises(DataError, match="skip-corrupt"):
        pretrain(parse(raw(room), PretrainConfig), tmp_path / "out")
    skipping = raw(room, frames={"path": str(room), "skip_corrupt": True, "num_pairs": 32})
    record = pretrain(parse(skipping, PretrainConfig), tmp_path / "out")
    assert (record.extra["frames"], record.extra["corrupt_files"]) == (2, 1)
    assert "frame-000001" in record.extra["left_out"][0]


def test_pretrain_config_rejects_inconsistent_sections(room):
    with pytest.raises(ConfigError, match=r"frames\.path"):
        parse({k: v for k, v in raw(room).items() if k != "frames"}, PretrainConfig)
    with pytest.raises(ConfigError, match="remove 'arm'"):
        parse(raw(room, arm={"method": "unet"}), PretrainConfig)
    with pytest.raises(ConfigError, match="'arm' is missing"):
        parse({**raw(room), "pretraining": {"method": "slice_distillation"}, "dataset": {"path": "x"}}, PretrainConfig)


def test_frame_pretraining_rejects_an_empty_selection(room, tmp_path):
    config = parse(raw(room, frames={"path": str(room), "first_frame": 9}), PretrainConfig)
    with pytest.raises(DataError, match="3 frames, none from frame 9"):
        pretrain(config, tmp_path / "out")


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("paper", {"proj_dim": 128, "temperature": 0.04, "voxel_size": 0.025, "depth": 34, "objective": "pixels"}),
        ("slidr_port", {"proj_dim": 64, "temperature": 0.07, "objective": "pixels"}),
        ("slidr", {"proj_dim": 64, "temperature": 0.07, "objective": "superpixels", "num_superpixels": 150}),
    ],
)
def test_ppkt_presets_yield_to_explicit_keys(preset, expected):
    section = PPKTPretraining.model_validate({"method": "ppkt", "preset": preset})
    assert {key: getattr(section, key) for key in expected} == expected
    assert PPKTPretraining.model_validate({"method": "ppkt", "preset": preset, "proj_dim": 7}).proj_dim == 7


def test_frame_step_selects_frames_and_changes_the_identity(room):
    frames = raw(room)["frames"]
    plain, first, second = (
        parse(raw(room, frames={**frames, **more}), PretrainConfig)
        for more in ({}, {"frame_step": 1}, {"frame_step": 2})
    )
    assert [frame.name for frame in find_frame_files(second)[0]] == ["frame-000000", "frame-000002"]
    assert len(find_frame_files(plain)[0]) == 3
    assert plain.identity("m") == first.identity("m") != second.identity("m")
