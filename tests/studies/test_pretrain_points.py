"""Learn from clouds without labels, leave weights, read the encoder back."""

import numpy as np
import pytest
import torch

from dimlift.config.method_config import Task
from dimlift.errors import ConfigError, DataError
from dimlift.methods.registry import POINT_NETWORKS
from dimlift.records.weights import read_weights
from dimlift.studies.load_config import parse
from dimlift.studies.pretrain import pretrain
from dimlift.studies.pretrain_config import PretrainConfig
from dimlift.training.initialise import start_from

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


@pytest.fixture
def folder(tmp_path):
    """Three sound clouds, one with a coordinate that is NaN."""
    at = tmp_path / "clouds"
    at.mkdir()
    for number in range(4):
        points = np.random.default_rng(number).normal(size=(40, 3))
        points[7, 1] = np.nan if number == 2 else 0
        np.save(at / f"{number}.npy", points)
    return at


def test_a_cloud_smaller_than_its_patches_is_named(folder, tmp_path):
    np.save(folder / "2.npy", np.random.default_rng(0).normal(size=(5, 3)))
    with pytest.raises(DataError, match=r"of 8 points or more .* 2\.npy \(5\); take them out, or lower its patches"):
        pretrain(parse(raw(folder), PretrainConfig), tmp_path / "run")


def test_a_bad_cloud_is_left_out_only_when_asked_and_counted(folder, tmp_path):
    config = parse(raw(folder), PretrainConfig)
    with pytest.raises(DataError, match=r"2\.npy: 1 of 40 points.*--skip-bad"):
        pretrain(config, tmp_path / "run")
    record = pretrain(config.skipping_bad(), tmp_path / "run")
    assert (record.extra["clouds"], record.extra["bad_clouds"]) == (3, 1)
    assert "2.npy" in record.extra["left_out"][0]


def test_there_is_nothing_to_skip_among_volumes():
    given = {"pretraining": {"method": "medical_transformer"}, "student": {"method": "medical_transformer"}}
    config = parse({**given, "volumes": {"path": "x"}, "budget": {"steps": 1}}, PretrainConfig)
    with pytest.raises(ConfigError, match="--skip-bad"):
        config.skipping_bad()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"method": "point_mae"}, {"masked": 0.6, "blocks": 4}),
        ({"method": "point_mae", "preset": "point_m2ae"}, {"masked": 0.8, "blocks": 1}),
        ({"method": "i2p_mae", "preset": "paper"}, {"masked": 0.8, "blocks": 1, "saliency_temperature": 1.0}),
        ({"method": "i2p_mae", "preset": "paper", "masked": 0.5}, {"masked": 0.5, "view_size": 224}),
        ({"method": "joint_mae"}, {"masked": 0.75}),
    ],
)
def test_presets_are_the_papers_and_keys_win(given, wanted, clouds):
    found = parse({**raw(clouds), "pretraining": given, "student": HIERARCHY}, PretrainConfig).pretraining
    assert {key: getattr(found, key) for key in wanted} == wanted


def test_the_students_sizes_are_the_papers_if_none_are_given():
    mae, m2ae = (
        POINT_NETWORKS[name].model_validate({"method": name}) for name in ("point_transformer", "point_hierarchy")
    )
    assert (mae.patches, mae.neighbours, mae.width, mae.depth, mae.heads) == (64, 32, 384, 12, 6)
    assert (m2ae.patches, m2ae.neighbours, m2ae.widths) == ((512, 256, 64), (16, 8, 8), (96, 192, 384))
    assert (m2ae.depths, m2ae.heads) == ((5, 5, 5), 6)
