"""Runs and studies on clouds: what holds for every method of points, and what is refused."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from dimlift.data.io.point_cloud_writer import write_labelled
from dimlift.errors import ConfigError, DataError, WeightsError
from dimlift.inference.point_predictor import TrainedPoints
from dimlift.inference.predictor import Trained
from dimlift.methods.registry import POINT_METHODS
from dimlift.models.point_sparse_unet import point_unet
from dimlift.progress import silent
from dimlift.records.record import Record
from dimlift.records.weights import write_weights
from dimlift.studies.compare import planned
from dimlift.studies.executors.job import tasks_of, work
from dimlift.studies.load_config import parse
from dimlift.studies.modality.point_clouds import open_data, score_cases
from dimlift.studies.pretrain import pretrain
from dimlift.studies.pretrain_config import PretrainConfig
from dimlift.studies.run import Places, read_material, train_cell
from dimlift.studies.run_config import StudyConfig, TrainConfig
from dimlift.studies.train import train
from dimlift.training.distributed import Team

SMALL = {
    "point_unet": {"share": 0.25, "voxel": 0.3},
    "mean_teacher": {"share": 0.25, "voxel": 0.3},
    "point_transformer": {"patches": 8, "neighbours": 8, "width": 24, "depth": 1, "heads": 2},
    "point_hierarchy": {
        "patches": [16, 8], "neighbours": [8, 4], "widths": [12, 24], "depths": [1, 1], "heads": 2,
    },
    "point_vit": {"network": "timm:test_vit", "pretrained": False, "blocks": 1, "neighbours": 4},
}  # fmt: skip
"""The smallest arm of each method; a new method needs its line here."""

TASKS = {"segmentation": "scans", "classification": "shapes"}
RUNS = [(method, task) for method in SMALL for task in TASKS if (method, task) != ("mean_teacher", "classification")]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six scans of a floor with a box on it, and six shapes, balls and rods."""
    root, rng = tmp_path_factory.mktemp("clouds"), np.random.default_rng(0)
    for number in range(6):
        floor = np.c_[rng.uniform(-1, 1, (60, 2)), np.zeros(60)]
        box = rng.uniform((0, 0, 0.1), (0.5, 0.5, 0.6), (30, 3))
        order = rng.permutation(90)
        labels = np.repeat([2, 5], [60, 30]).astype(np.int32)
        write_labelled(root / "scans" / f"{number}.ply", np.r_[floor, box][order], labels[order])
        kind, shape = (("ball", 1), ("rod", 0.1))[number % 2]
        (root / "shapes" / kind).mkdir(parents=True, exist_ok=True)
        np.save(root / "shapes" / kind / f"{number}.npy", rng.normal(size=(70, 3)) * [1, shape, shape])
    return root


def raw(data, task="segmentation", method="point_unet", **changes):
    return {
        "clouds": {"path": str(data / TASKS[task]), "points": 48},
        "task": task,
        "split": {"folds": 3},
        "arm": {"method": method, **SMALL[method]},
        "budget": {"steps": 2},
        "training": {"batch_size": 2, "threads": 1, "device": "cpu"},
        **changes,
    }


def places(folder):
    return Places(*(folder / name for name in ("records", "weights", "predictions", "checkpoints", "cache")))


def test_every_method_has_its_line_here():
    assert SMALL.keys() == POINT_METHODS.keys()


@pytest.mark.parametrize(("method", "task"), RUNS)
def test_a_method_trains_and_answers_the_same_after_reading_it_back(method, task, data, tmp_path):
    config = parse(raw(data, task, method), TrainConfig)
    material = read_material(config, open_data(config))
    trained, result, _ = train_cell(config, material, places(tmp_path))
    assert result.steps == 2
    expected = [trained.probabilities(sample) for sample in material.samples[:2]]
    torch.manual_seed(123)  # what is read back must not depend on what was drawn
    again = TrainedPoints.load(trained.save(tmp_path / "weights"))
    for sample, answer in zip(material.samples, expected, strict=False):
        assert answer.shape == ((len(sample.points), 2) if task == "segmentation" else (2,))
        np.testing.assert_allclose(answer.sum(-1), 1, rtol=1e-5)
        np.testing.assert_array_equal(again.probabilities(sample), answer)
    handed = [id(p) for group in trained.method.parameter_groups(1.0) for p in group["params"]]
    assert len(handed) == len(set(handed))
    assert set(handed) == {id(p) for p in trained.method.parameters() if p.requires_grad}
    with pytest.raises(WeightsError, match="holds a network of points, volumes are wanted"):
        Trained.load(tmp_path / "weights")


@pytest.mark.parametrize("method", ["point_unet", "point_hierarchy", "point_vit"])
def test_painted_points_go_into_any_network(method, data, tmp_path):
    """What `dimlift paint` writes: features, colours, and the labels the cloud had."""
    from dimlift.data.io.point_cloud import read_cloud

    rng = np.random.default_rng(1)
    (tmp_path / "painted").mkdir()
    for file in (data / "scans").iterdir():
        cloud = read_cloud(file)
        np.savez(
            tmp_path / "painted" / f"{file.stem}.npz", points=cloud.points, labels=cloud.labels,
            colours=rng.random((90, 3)), features=rng.normal(size=(90, 5)).astype(np.float16), views=np.ones(90, int),
        )  # fmt: skip
    clouds = {"path": str(tmp_path / "painted"), "points": 48, "features": ["features", "colours"]}
    config = parse(raw(data, method=method, clouds=clouds, budget={"steps": 1}), TrainConfig)
    material = read_material(config, open_data(config))
    assert material.task.in_channels == 3 + 8
    trained, *_ = train_cell(config, material, places(tmp_path))
    sample = material.samples[0]
    other = dataclasses.replace(sample, features=sample.features[:, ::-1].copy())
    assert not np.allclose(trained.probabilities(sample), trained.probabilities(other))


@pytest.mark.parametrize("training", [{"workers": 1}, {"precision": "bf16"}, {"validate_every": 0.5}])
def test_the_loop_serves_clouds_as_it_serves_volumes(training, data, tmp_path):
    common = raw(data)["training"]
    plain, other = (
        train(parse(raw(data, training={**common, **more}), TrainConfig), tmp_path / name)
        for name, more in (("plain", {}), ("other", training))
    )
    assert other.steps == plain.steps == 2
    if "workers" in training:
        assert other.scores == plain.scores
    if "validate_every" in training:
        assert "iou" in other.history[-1]


def test_a_run_is_the_same_every_time_and_its_scores_are_those_of_its_predictions(data, tmp_path):
    config = parse(raw(data, training={"batch_size": 2, "threads": 1, "device": "cpu", "rate": 0.02}), TrainConfig)
    one, other = (train(config, tmp_path / name) for name in ("one", "other"))
    assert one.scores == other.scores
    assert {score.metric for score in one.scores} == {"iou", "one_mask_empty", "points_right", "mean_iou"}
    assert {score.class_ for score in one.scores} == {"2", "5", "all"}
    assert one.extra["points"] == 48
    case = next(score.case for score in one.scores if score.metric == "points_right")
    right = next(score.value for score in one.scores if (score.case, score.metric) == (case, "points_right"))
    from dimlift.data.io.point_cloud import read_cloud

    with np.load(tmp_path / "one" / "predictions" / f"{case}.npz") as stored:
        labels = stored["labels"]
    assert (labels == read_cloud(data / "scans" / f"{case}.ply").labels).mean() == pytest.approx(right)


@pytest.mark.parametrize("radius", [None, 0.7])
def test_points_are_told_apart_after_some_steps(radius, data, tmp_path):
    clouds = {"path": str(data / "scans"), "points": 48, "frame": "file", "radius": radius}
    training = {"batch_size": 4, "threads": 1, "device": "cpu", "rate": 0.02, "augment": False}
    changes = {"clouds": clouds, "budget": {"steps": 25}, "training": training}
    config = parse(raw(data, **changes), TrainConfig)
    material = read_material(config, open_data(config))
    trained, *_ = train_cell(config, material, places(tmp_path))
    found = {
        score.metric: score.value
        for score in score_cases(trained, material.test, None, "", silent, Team())
        if score.class_ == "all"
    }
    assert found["mean_iou"] > 0.8


def test_clouds_of_a_fold_are_left_out_of_pretraining_or_the_start_is_refused(data, tmp_path):
    student = {"method": "point_hierarchy", **SMALL["point_hierarchy"]}
    learning = {
        "pretraining": {"method": "point_mae", "blocks": 1},
        "student": student,
        "clouds": {"path": str(data / "shapes"), "points": 48},
        "task": "classification",
        "budget": {"steps": 1},
        "training": {"batch_size": 2, "threads": 1, "device": "cpu"},
    }
    assert pretrain(parse(learning, PretrainConfig), tmp_path / "all").extra["clouds"] == 6
    held = pretrain(parse({**learning, "split": {"folds": 3}}, PretrainConfig), tmp_path / "some")
    assert held.extra["clouds"] == 4
    arm = {**student, "start": str(tmp_path / "some" / "weights")}
    record = train(parse(raw(data, "classification", "point_hierarchy", arm=arm), TrainConfig), tmp_path / "good")
    assert any("start from weights" in note for note in record.extra["notes"])
    arm["start"] = str(tmp_path / "all" / "weights")
    with pytest.raises(DataError, match="2 test cases were pretrained on"):
        train(parse(raw(data, "classification", "point_hierarchy", arm=arm), TrainConfig), tmp_path / "bad")


@pytest.mark.parametrize("method", ["point_unet", "mean_teacher"])
def test_a_sparse_network_starts_from_what_frames_taught_it(method, data, tmp_path):
    torch.manual_seed(7)
    taught = point_unet(3, None, 18, 0.25).state_dict()
    write_weights(tmp_path / "weights", taught, {"task": "pretraining", "method": "ppkt"})
    arm = {"method": method, **SMALL[method], "start": str(tmp_path / "weights"), "rate": 1e-12}
    config = parse(raw(data, arm=arm, budget={"steps": 1}), TrainConfig)
    trained, fit, _ = train_cell(config, read_material(config, open_data(config)), places(tmp_path))
    (note,) = (note for note in fit.notes if "start from weights" in note)
    assert "new: head.weight, head.bias" in note
    state = trained.method.model.state_dict()
    name = "network.stem.weight"
    torch.testing.assert_close(state[name], taught[name])
    if method == "mean_teacher":
        torch.testing.assert_close(trained.method.teacher.state_dict()[name], taught[name])


def test_a_sparse_network_starts_from_the_encoder_alone_if_asked(data, tmp_path):
    torch.manual_seed(7)
    taught = point_unet(3, None, 18, 0.25).state_dict()
    write_weights(tmp_path / "weights", taught, {"task": "pretraining", "method": "ppkt"})
    arm = {"method": "point_unet", **SMALL["point_unet"], "start": str(tmp_path / "weights"), "rate": 1e-12}
    config = parse(raw(data, arm={**arm, "start_with": "encoder"}, budget={"steps": 1}), TrainConfig)
    trained, fit, _ = train_cell(config, read_material(config, open_data(config)), places(tmp_path))
    state = trained.method.model.state_dict()
    torch.testing.assert_close(state["network.stages.3.1.second.weight"], taught["network.stages.3.1.second.weight"])
    assert not torch.allclose(state["network.stages.4.0.first.weight"], taught["network.stages.4.0.first.weight"])
    assert any("new: network.stages.4" in note or "network.grow.0" in note for note in fit.notes)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"arm": {"method": "unet"}}, "'arm.method' is 'unet', which reads volumes, and there are clouds"),
        ({"dataset": {"path": "x"}}, "exactly one of 'dataset' (volumes) and 'clouds' (points)"),
        ({"clouds": None}, "exactly one of 'dataset' (volumes) and 'clouds' (points)"),
        ({"clouds": None, "dataset": {"path": "x"}}, "which reads clouds, and there are volumes"),
        ({"task": "regression"}, "which is for volumes; clouds take segmentation or classification"),
        ({"preprocessing": {"modality": "ct"}}, "'preprocessing' is about volumes"),
        ({"training": {"patch_size": [8, 8, 8]}}, "'training.patch_size' is about volumes"),
    ],
)
def test_what_is_asked_of_the_wrong_kind_of_data_is_named(changes, told, data):
    with pytest.raises(ConfigError) as fault:
        parse({**raw(data), **changes}, TrainConfig)
    assert told in str(fault.value)


def test_a_study_of_clouds_gets_a_plain_rival_of_points(data):
    content = raw(data, "classification", "point_vit")
    arm = content.pop("arm")
    study = parse({**content, "arms": {"lifted": arm}}, StudyConfig)
    assert list(study.arms) == ["point_unet", "lifted"]
    assert list(parse({**content, "arms": {"lifted": arm}, "baseline": False}, StudyConfig).arms) == ["lifted"]
    cells = {study.run("lifted", fraction=1.0, fold=0, seed=0).cell("m")}
    for key, value in (("points", 32), ("frame", "file"), ("features", ["colours"]), ("turn", "any")):
        changed = parse({**content, "clouds": {**content["clouds"], key: value}, "arms": {"lifted": arm}}, StudyConfig)
        cells.add(changed.run("lifted", fraction=1.0, fold=0, seed=0).cell("m"))
    assert len(cells) == 5


@pytest.mark.parametrize("kind", ["folder", "one file"])
def test_a_cell_of_clouds_travels_to_another_process(kind, data, tmp_path):
    content = raw(data, "classification", budget={"steps": 1})
    if kind == "one file":
        points = np.random.default_rng(0).normal(size=(6, 60, 3)).astype(np.float32)
        np.savez(tmp_path / "set.npz", points=points, labels=np.arange(6) % 2, classes=["chair", "lamp"])
        content["clouds"] = {**content["clouds"], "path": str(tmp_path / "set.npz")}
    arm = content.pop("arm")
    study = parse({**content, "arms": {"plain": arm}, "seeds": [0]}, StudyConfig)
    (task,) = tasks_of(planned(study), open_data(study), tmp_path)
    assert work(task.to_json()) == ""
    record = Record.load(tmp_path / "records" / f"{task.cell}.json")
    assert record.status == "finished"
    assert {score.metric for score in record.scores} == {"accuracy", "macro_f1", "auroc"}


def test_class_weights_are_for_the_classes_there_are(data):
    training = {"batch_size": 2, "threads": 1, "device": "cpu"}
    config = parse(raw(data, training={**training, "class_weights": "balanced"}), TrainConfig)
    weights = read_material(config, open_data(config)).task.class_weights
    assert weights == pytest.approx((0.75, 1.5))  # of 90 points 60 are floor
    config = parse(raw(data, training={**training, "class_weights": [1, 2, 3]}), TrainConfig)
    with pytest.raises(ConfigError, match="3 numbers for 2 classes; give one for each, in the order 2, 5"):
        read_material(config, open_data(config))


def test_bad_clouds_are_left_out_on_demand_and_counted(data, tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for file in (data / "scans").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    whole = (folder / "0.ply").read_bytes()
    (folder / "9.ply").write_bytes(whole[: len(whole) // 2])
    content = raw(data, clouds={"path": str(folder), "points": 48}, budget={"steps": 1})
    with pytest.raises(DataError, match=r"9\.ply"):
        train(parse(content, TrainConfig), tmp_path / "refused")
    content["clouds"]["skip_bad"] = True
    record = train(parse(content, TrainConfig), tmp_path / "run")
    assert record.extra["bad_clouds"] == 1
    assert "9.ply" in json.dumps(record.extra["left_out"])
