"""Learn from clouds without labels, leave weights, read the encoder back."""

import numpy as np
import pytest
import torch

from dimlift.errors import ConfigError
from dimlift.experiments.arms.arm import Task
from dimlift.experiments.config_file import parse
from dimlift.experiments.pretraining.config import PretrainConfig
from dimlift.experiments.pretraining.run import pretrain
from dimlift.experiments.start import start_from
from dimlift.experiments.tables import POINT_NETWORKS
from dimlift.records.weights import read_weights

HIERARCHY = {
    "method": "point_hierarchy", "patches": [32, 16, 8], "neighbours": [8, 4, 3], "widths": [12, 12, 24],
    "depths": [1, 1, 1], "heads": 2,
}  # fmt: skip
TEACHER = {"network": "timm:test_vit", "view_size": 32}
WAYS = {
    "point_mae": ({"blocks": 1}, {
        "method": "point_transformer", "patches": 8, "neighbours": 8, "width": 24, "depth": 1, "heads": 2,
    }),
    "i2p_mae": (TEACHER, HIERARCHY),
    "joint_mae": ({"view_size": 32, "shared": 1}, HIERARCHY),
    "crosspoint": (TEACHER, {"method": "point_vit", "network": "timm:test_vit", "blocks": 1, "neighbours": 4}),
}  # fmt: skip


@pytest.fixture(scope="module")
def clouds(tmp_path_factory):
    path = tmp_path_factory.mktemp("clouds") / "set.npz"
    points = np.random.default_rng(0).normal(size=(6, 90, 3)).astype(np.float32)
    np.savez(path, points=points, labels=np.arange(6) % 2, classes=np.array(["chair", "lamp"]))
    return path


def raw(at, way="point_mae", **changes):
    options, student = WAYS[way]
    return {
        "pretraining": {"method": way, **options},
        "student": student,
        "clouds": {"path": str(at), "points": 64},
        "budget": {"steps": 2},
        "training": {"batch_size": 2, "threads": 1, "device": "cpu"},
        **changes,
    }


@pytest.mark.parametrize("way", WAYS)
def test_what_was_learnt_is_saved_alone_and_starts_a_classifier(way, clouds, tmp_path):
    config = parse(raw(clouds, way), PretrainConfig)
    record = pretrain(config, tmp_path)
    assert record.steps == 2
    assert record.extra["clouds"] == 6
    state, card = read_weights(tmp_path / "weights")
    assert all(name.startswith("encoder.") for name in state)  # no decoder, no head, no teacher
    assert len(card["seen"]) == 6
    network = POINT_NETWORKS[card["student"]["method"]].model_validate(card["student"])
    method = network.build(Task("classification", 3, 2, None, (0, 0, 0)))
    note = start_from(method, tmp_path / "weights")
    assert note.startswith(f"{len(state)} of")
    assert all(torch.equal(method.model.state_dict()[name], value) for name, value in state.items())


def test_it_is_the_same_every_time_and_done_once(clouds, tmp_path):
    events = []
    for name in ("one", "other", "other"):
        pretrain(parse(raw(clouds), PretrainConfig), tmp_path / name, events.append)
    one, other = (read_weights(tmp_path / name / "weights")[0] for name in ("one", "other"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert events[-1].stage == "skip"


def test_the_content_of_the_clouds_names_the_run_not_their_place(clouds, tmp_path):
    moved = tmp_path / "moved.npz"
    moved.write_bytes(clouds.read_bytes())
    assert parse(raw(clouds), PretrainConfig).identity("m") == parse(raw(moved), PretrainConfig).identity("m")
    fewer = raw(clouds, clouds={"path": str(clouds), "points": 32})
    assert parse(raw(clouds), PretrainConfig).identity("m") != parse(fewer, PretrainConfig).identity("m")


def test_what_does_not_go_together_is_named(clouds):
    with pytest.raises(ConfigError, match=r"set clouds\.path"):
        parse({k: v for k, v in raw(clouds).items() if k != "clouds"}, PretrainConfig)
    with pytest.raises(ConfigError, match=r"cannot teach a unet; set student\.method to one of: point_transformer"):
        parse(raw(clouds, student={"method": "unet"}), PretrainConfig)
    with pytest.raises(ConfigError, match="point_vit"):
        parse(raw(clouds, student={"method": "point_vit2"}), PretrainConfig)
