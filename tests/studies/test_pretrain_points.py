"""Pretraining on point clouds."""

import numpy as np
import pytest
import torch

from dimlift.config.method_config import TaskSpec
from dimlift.errors import ConfigError, DataError
from dimlift.methods.registry import POINT_ENCODERS
from dimlift.records.weights import read_weights
from dimlift.studies.load_config import parse
from dimlift.studies.pretrain import pretrain
from dimlift.studies.pretrain_config import PretrainConfig
from dimlift.training.initialise import init_from_weights

M2AE = {
    "method": "point_m2ae", "num_groups": [32, 16, 8], "group_sizes": [8, 4, 3], "widths": [12, 12, 24],
    "depths": [1, 1, 1], "heads": 2,
}  # fmt: skip
TEACHER = {"network": "timm:test_vit", "render_size": 32}
METHODS = {
    "point_mae": ({"decoder_depth": 1}, {
        "method": "point_transformer", "num_groups": 8, "group_size": 8, "width": 24, "depth": 1, "heads": 2,
    }),
    "i2p_mae": (TEACHER, M2AE),
    "joint_mae": ({"render_size": 32, "shared_decoder_depth": 1}, M2AE),
    "crosspoint": (TEACHER, {"method": "point_vit", "network": "timm:test_vit", "blocks": 1, "num_neighbors": 4}),
}  # fmt: skip


@pytest.fixture(scope="module")
def point_clouds(tmp_path_factory):
    path = tmp_path_factory.mktemp("point_clouds") / "set.npz"
    points = np.random.default_rng(0).normal(size=(6, 90, 3)).astype(np.float32)
    np.savez(path, points=points, labels=np.arange(6) % 2, classes=np.array(["chair", "lamp"]))
    return path


def raw(path, method="point_mae", **changes):
    options, arm = METHODS[method]
    return {
        "pretraining": {"method": method, **options},
        "arm": arm,
        "dataset": {"path": str(path)},
        "point_clouds": {"num_points": 64},
        "budget": {"steps": 2},
        "training": {"batch_size": 2, "num_threads": 1, "device": "cpu"},
        **changes,
    }


@pytest.mark.parametrize("method", METHODS)
def test_point_pretraining_saves_the_encoder_for_a_classifier(method, point_clouds, tmp_path):
    config = parse(raw(point_clouds, method), PretrainConfig)
    record = pretrain(config, tmp_path)
    assert record.steps == 2
    assert record.extra["point_clouds"] == 6
    state, card = read_weights(tmp_path / "weights")
    assert all(name.startswith("encoder.") for name in state)  # no decoder, no head, no teacher
    assert len(card["seen"]) == 6
    network = POINT_ENCODERS[card["arm"]["method"]].model_validate(card["arm"])
    classifier = network.build(TaskSpec("classification", 3, 2, None, (0, 0, 0)))
    note = init_from_weights(classifier.trainable_network(), tmp_path / "weights")
    assert note.startswith(f"{len(state)} of")
    assert all(torch.equal(classifier.model.state_dict()[name], value) for name, value in state.items())


def test_point_pretraining_is_deterministic_and_skips_finished_runs(point_clouds, tmp_path):
    events = []
    for name in ("one", "other", "other"):
        pretrain(parse(raw(point_clouds), PretrainConfig), tmp_path / name, events.append)
    one, other = (read_weights(tmp_path / name / "weights")[0] for name in ("one", "other"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert events[-1].stage == "skip"


@pytest.mark.parametrize("method", ["point_mae", "joint_mae"])
def test_report_of_a_run_resumed_after_its_last_step_is_complete(method, point_clouds, tmp_path, monkeypatch):
    """Weights cannot be written the first time; nothing is left to train the second time."""
    config = parse(raw(point_clouds, method), PretrainConfig)
    complete = pretrain(config, tmp_path / "complete")
    assert complete.extra["reconstruction_loss"] > 0
    with monkeypatch.context() as patch:
        patch.setattr("dimlift.studies.pretrain.write_weights", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(OSError, match="full"):
            pretrain(config, tmp_path / "resumed")
    resumed = pretrain(config, tmp_path / "resumed")
    assert resumed.extra == complete.extra


def test_pretraining_identity_depends_on_options_not_the_path(point_clouds, tmp_path):
    moved = tmp_path / "moved.npz"
    moved.write_bytes(point_clouds.read_bytes())
    assert parse(raw(point_clouds), PretrainConfig).identity("m") == parse(raw(moved), PretrainConfig).identity("m")
    fewer = raw(point_clouds, point_clouds={"num_points": 32})
    assert parse(raw(point_clouds), PretrainConfig).identity("m") != parse(fewer, PretrainConfig).identity("m")


def test_pretrain_config_rejects_other_arms(point_clouds):
    with pytest.raises(ConfigError, match=r"set dataset\.path"):
        parse({k: v for k, v in raw(point_clouds).items() if k != "dataset"}, PretrainConfig)
    with pytest.raises(ConfigError, match=r"cannot pretrain unet; set arm\.method to one of: point_transformer"):
        parse(raw(point_clouds, arm={"method": "unet"}), PretrainConfig)
    with pytest.raises(ConfigError, match="point_vit"):
        parse(raw(point_clouds, arm={"method": "point_vit2"}), PretrainConfig)


@pytest.fixture
def folder(tmp_path):
    """Three valid point clouds, one with a coordinate that is NaN."""
    path = tmp_path / "point_clouds"
    path.mkdir()
    for number in range(4):
        points = np.random.default_rng(number).normal(size=(40, 3))
        points[7, 1] = np.nan if number == 2 else 0
        np.save(path / f"{number}.npy", points)
    return path


def test_point_pretraining_rejects_or_counts_points_at_one_place(folder, tmp_path):
    np.save(folder / "2.npy", np.ones((40, 3)))
    with pytest.raises(DataError, match=r"2\.npy has all 40 points at one place.*skip-corrupt"):
        pretrain(parse(raw(folder), PretrainConfig), tmp_path / "out")
    skipping = raw(folder, dataset={"path": str(folder), "skip_corrupt": True})
    record = pretrain(parse(skipping, PretrainConfig), tmp_path / "out")
    assert (record.extra["point_clouds"], record.extra["corrupt_files"]) == (3, 1)


def test_point_pretraining_rejects_small_point_clouds(folder, tmp_path):
    np.save(folder / "2.npy", np.random.default_rng(0).normal(size=(5, 3)))
    with pytest.raises(DataError, match=r"of 8 points or more, .* 2\.npy \(5\); remove them, or lower the number"):
        pretrain(parse(raw(folder), PretrainConfig), tmp_path / "run")


def test_point_pretraining_rejects_or_counts_corrupt_point_clouds(folder, tmp_path):
    config = parse(raw(folder), PretrainConfig)
    with pytest.raises(DataError, match=r"2\.npy: 1 of 40 points.*--skip-corrupt"):
        pretrain(config, tmp_path / "run")
    record = pretrain(config.skipping_corrupt(), tmp_path / "run")
    assert (record.extra["point_clouds"], record.extra["corrupt_files"]) == (3, 1)
    assert "2.npy" in record.extra["left_out"][0]


def test_skipping_corrupt_rejects_volumes():
    sections = {"pretraining": {"method": "medical_transformer"}, "arm": {"method": "medical_transformer"}}
    config = parse({**sections, "dataset": {"path": "x"}, "budget": {"steps": 1}}, PretrainConfig)
    with pytest.raises(ConfigError, match="--skip-corrupt"):
        config.skipping_corrupt()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"method": "point_mae"}, {"mask_ratio": 0.6, "decoder_depth": 4}),
        ({"method": "point_mae", "preset": "point_m2ae"}, {"mask_ratio": 0.8, "decoder_depth": 1}),
        (
            {"method": "i2p_mae", "preset": "paper"},
            {"mask_ratio": 0.8, "decoder_depth": 1, "saliency_temperature": 1.0},
        ),
        ({"method": "i2p_mae", "preset": "paper", "mask_ratio": 0.5}, {"mask_ratio": 0.5, "render_size": 224}),
        ({"method": "joint_mae"}, {"mask_ratio": 0.75}),
    ],
)
def test_presets_yield_to_explicit_keys(options, expected, point_clouds):
    section = parse({**raw(point_clouds), "pretraining": options, "arm": M2AE}, PretrainConfig).pretraining
    assert {key: getattr(section, key) for key in expected} == expected


def test_point_encoder_defaults_are_the_published_sizes():
    mae, m2ae = (POINT_ENCODERS[name].model_validate({"method": name}) for name in ("point_transformer", "point_m2ae"))
    assert (mae.num_groups, mae.group_size, mae.width, mae.depth, mae.heads) == (64, 32, 384, 12, 6)
    assert (m2ae.num_groups, m2ae.group_sizes, m2ae.widths) == ((512, 256, 64), (16, 8, 8), (96, 192, 384))
    assert (m2ae.depths, m2ae.heads) == ((5, 5, 5), 6)
