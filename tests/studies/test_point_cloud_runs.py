"""Runs and studies on point clouds: every method, and configurations that are refused."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from dimlift.data.io.point_cloud import read_point_cloud
from dimlift.data.io.point_cloud_writer import write_point_labels
from dimlift.errors import ConfigError, DataError
from dimlift.evaluation.evaluate import score_cases
from dimlift.inference.predictor import Predictor
from dimlift.methods.registry import methods_for
from dimlift.models.point_sparse_unet import point_sparse_unet
from dimlift.records.record import RunRecord
from dimlift.records.train_size import TrainSize
from dimlift.records.weights import write_weights
from dimlift.studies.compare import planned_runs
from dimlift.studies.config_checks import open_configured_dataset
from dimlift.studies.executors.job import make_jobs, run_job_json
from dimlift.studies.load_config import parse
from dimlift.studies.pretrain import pretrain
from dimlift.studies.pretrain_config import PretrainConfig
from dimlift.studies.run import RunPaths, load_run_data, train_run
from dimlift.studies.run_config import StudyConfig, TrainConfig
from dimlift.studies.train import train

SMALL = {
    "point_unet": {"width_multiplier": 0.25, "voxel_size": 0.3},
    "mean_teacher": {"width_multiplier": 0.25, "voxel_size": 0.3},
    "point_transformer": {"num_groups": 8, "group_size": 8, "width": 24, "depth": 1, "heads": 2},
    "point_m2ae": {
        "num_groups": [16, 8], "group_sizes": [8, 4], "widths": [12, 24], "depths": [1, 1], "heads": 2,
    },
    "point_vit": {"network": "timm:test_vit", "pretrained": False, "blocks": 1, "num_neighbors": 4},
}  # fmt: skip
"""Small options of each method; a new method needs an entry."""

TRAINING = {"batch_size": 2, "num_threads": 1, "device": "cpu"}
TASKS = {"segmentation": "scans", "classification": "shapes"}
RUNS = [(method, task) for method in SMALL for task in TASKS if (method, task) != ("mean_teacher", "classification")]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six scans of a floor with a box on it, and six shapes, balls and rods."""
    root, rng = tmp_path_factory.mktemp("point_clouds"), np.random.default_rng(0)
    for number in range(6):
        floor = np.c_[rng.uniform(-1, 1, (60, 2)), np.zeros(60)]
        box = rng.uniform((0, 0, 0.1), (0.5, 0.5, 0.6), (30, 3))
        order = rng.permutation(90)
        labels = np.repeat([2, 5], [60, 30]).astype(np.int32)
        write_point_labels(root / "scans" / f"{number}.ply", np.r_[floor, box][order], labels[order])
        kind, shape = (("ball", 1), ("rod", 0.1))[number % 2]
        (root / "shapes" / kind).mkdir(parents=True, exist_ok=True)
        np.save(root / "shapes" / kind / f"{number}.npy", rng.normal(size=(70, 3)) * [1, shape, shape])
    return root


def raw(data, task="segmentation", method="point_unet", **changes):
    return {
        "dataset": {"path": str(data / TASKS[task])},
        "point_clouds": {"num_points": 48},
        "task": task,
        "split": {"folds": 3},
        "arm": {"method": method, **SMALL[method]},
        "budget": {"steps": 2},
        "training": TRAINING,
        **changes,
    }


def run_paths(folder):
    return RunPaths(*(folder / name for name in ("records", "weights", "predictions", "checkpoints", "cache")))


def trained(config, folder):
    data = load_run_data(config, open_configured_dataset(config))
    return data, *train_run(config, data, run_paths(folder))


def test_small_options_exist_for_every_method():
    assert SMALL.keys() == methods_for("point_clouds").keys()


@pytest.mark.parametrize(("method", "task"), RUNS)
def test_predictor_predicts_the_same_after_save_and_load(method, task, data, tmp_path):
    config = parse(raw(data, task, method), TrainConfig)
    run_data, predictor, result, _ = trained(config, tmp_path)
    assert result.steps == 2
    expected = [predictor.predict_proba(sample) for sample in run_data.samples[:2]]
    torch.manual_seed(123)  # loading must not depend on the state of the generator
    again = Predictor.load(predictor.save(tmp_path / "weights"))
    assert again.modality.name == "point_clouds"
    for sample, probabilities in zip(run_data.samples, expected, strict=False):
        assert probabilities.shape == ((len(sample.points), 2) if task == "segmentation" else (2,))
        np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)
        np.testing.assert_array_equal(again.predict_proba(sample), probabilities)
        np.testing.assert_array_equal(again.predict(sample), probabilities.argmax(-1))
    grouped = [id(p) for group in predictor.method.param_groups(1.0) for p in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in predictor.method.parameters() if p.requires_grad}


def test_predictor_predicts_files_arrays_and_samples_alike(data, tmp_path):
    config = parse(raw(data), TrainConfig)
    _, predictor, *_ = trained(config, tmp_path)
    file = data / "scans" / "0.ply"
    cloud = read_point_cloud(file)
    from_file = predictor.predict(file)
    assert set(np.unique(from_file)) <= {2, 5}
    np.testing.assert_array_equal(predictor.predict(cloud.points), from_file)
    np.testing.assert_array_equal(predictor.predict_proba(file), predictor.predict_proba(cloud.points))


@pytest.mark.parametrize("method", ["point_unet", "point_m2ae", "point_vit"])
def test_every_network_reads_additional_columns(method, data, tmp_path):
    """As `dimlift project-features` writes them: features, colours, and the labels of the point cloud."""
    rng = np.random.default_rng(1)
    (tmp_path / "projected").mkdir()
    for file in (data / "scans").iterdir():
        cloud = read_point_cloud(file)
        np.savez(
            tmp_path / "projected" / f"{file.stem}.npz", points=cloud.points, labels=cloud.labels,
            colours=rng.random((90, 3)), features=rng.normal(size=(90, 5)).astype(np.float16), views=np.ones(90, int),
        )  # fmt: skip
    changes = {
        "dataset": {"path": str(tmp_path / "projected")},
        "point_clouds": {"num_points": 48, "features": ["features", "colours"]},
        "budget": {"steps": 1},
    }
    run_data, predictor, *_ = trained(parse(raw(data, method=method, **changes), TrainConfig), tmp_path)
    assert run_data.task.in_channels == 3 + 8
    sample = run_data.samples[0]
    other = dataclasses.replace(sample, features=sample.features[:, ::-1].copy())
    first, again, reversed_columns = (predictor.predict_proba(each) for each in (sample, sample, other))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, reversed_columns)


@pytest.mark.parametrize("training", [{"num_workers": 1}, {"precision": "bf16"}, {"val_interval": 0.5}])
def test_training_options_work_on_point_clouds(training, data, tmp_path):
    plain, other = (
        train(parse(raw(data, training={**TRAINING, **more}), TrainConfig), tmp_path / name)
        for name, more in (("plain", {}), ("other", training))
    )
    assert other.steps == plain.steps == 2
    if "num_workers" in training:
        assert other.scores == plain.scores
    if "val_interval" in training:
        assert "iou" in other.history[-1]


def test_run_is_reproducible_and_scores_match_predictions(data, tmp_path):
    config = parse(raw(data, training={**TRAINING, "lr": 0.02}), TrainConfig)
    one, other = (train(config, tmp_path / name) for name in ("one", "other"))
    assert one.scores == other.scores
    assert {score.metric for score in one.scores} == {"iou", "one_mask_empty", "point_accuracy", "mean_iou"}
    assert {score.class_ for score in one.scores} == {"2", "5", "all"}
    assert one.extra["num_points"] == 48
    case = next(score.case for score in one.scores if score.metric == "point_accuracy")
    right = next(score.value for score in one.scores if (score.case, score.metric) == (case, "point_accuracy"))
    with np.load(tmp_path / "one" / "predictions" / f"{case}.npz") as stored:
        labels = stored["labels"]
    assert (labels == read_point_cloud(data / "scans" / f"{case}.ply").labels).mean() == pytest.approx(right)


@pytest.mark.parametrize("crop_radius", [None, 0.7])
def test_training_separates_classes(crop_radius, data, tmp_path):
    changes = {
        "point_clouds": {"num_points": 48, "normalise": "centre", "crop_radius": crop_radius},
        "budget": {"steps": 25},
        "training": {**TRAINING, "batch_size": 4, "lr": 0.02, "augment": False},
    }
    run_data, predictor, *_ = trained(parse(raw(data, **changes), TrainConfig), tmp_path)
    found = {s.metric: s.value for s in score_cases(predictor, run_data.test) if s.class_ == "all"}
    assert found["mean_iou"] > 0.8


def test_pretraining_leaves_out_test_cases_and_leakage_is_refused(data, tmp_path):
    arm = {"method": "point_m2ae", **SMALL["point_m2ae"]}
    pretraining = {
        "pretraining": {"method": "point_mae", "decoder_depth": 1},
        "arm": arm,
        "dataset": {"path": str(data / "shapes")},
        "point_clouds": {"num_points": 48},
        "task": "classification",
        "budget": {"steps": 1},
        "training": TRAINING,
    }
    assert pretrain(parse(pretraining, PretrainConfig), tmp_path / "all").extra["point_clouds"] == 6
    split = {**pretraining, "split": {"folds": 3}}
    assert pretrain(parse(split, PretrainConfig), tmp_path / "some").extra["point_clouds"] == 4
    initialised = {**arm, "init_from": str(tmp_path / "some" / "weights")}
    config = parse(raw(data, "classification", "point_m2ae", arm=initialised), TrainConfig)
    assert any("from weights" in note for note in train(config, tmp_path / "good").extra["notes"])
    leaked = {**arm, "init_from": str(tmp_path / "all" / "weights")}
    with pytest.raises(DataError, match="2 test cases"):
        train(parse(raw(data, "classification", "point_m2ae", arm=leaked), TrainConfig), tmp_path / "bad")


@pytest.fixture
def pretrained(tmp_path):
    """Weights of a sparse U-Net, as pretraining on RGB-D frames writes them."""
    torch.manual_seed(7)
    state = point_sparse_unet(3, None, 18, 0.25).state_dict()
    write_weights(tmp_path / "weights", state, {"task": "pretraining", "method": "ppkt"})
    return tmp_path / "weights", state


@pytest.mark.parametrize("method", ["point_unet", "mean_teacher"])
def test_sparse_unet_is_initialised_from_pretrained_weights(method, pretrained, data, tmp_path):
    folder, state = pretrained
    arm = {"method": method, **SMALL[method], "init_from": str(folder), "lr": 1e-12}
    _, predictor, fit, _ = trained(parse(raw(data, arm=arm, budget={"steps": 1}), TrainConfig), tmp_path)
    (note,) = (note for note in fit.notes if "from weights" in note)
    assert "head.weight, head.bias" in note
    name = "network.stem.weight"
    torch.testing.assert_close(predictor.method.model.state_dict()[name], state[name])
    if method == "mean_teacher":
        torch.testing.assert_close(predictor.method.teacher.state_dict()[name], state[name])


def test_init_scope_encoder_leaves_the_decoder_random(pretrained, data, tmp_path):
    folder, state = pretrained
    arm = {"method": "point_unet", **SMALL["point_unet"], "init_from": str(folder), "lr": 1e-12}
    config = parse(raw(data, arm={**arm, "init_scope": "encoder"}, budget={"steps": 1}), TrainConfig)
    _, predictor, fit, _ = trained(config, tmp_path)
    found = predictor.method.model.state_dict()
    torch.testing.assert_close(found["network.stages.3.1.second.weight"], state["network.stages.3.1.second.weight"])
    assert not torch.allclose(found["network.stages.4.0.first.weight"], state["network.stages.4.0.first.weight"])
    assert any("network.stages.4" in note or "network.up.0" in note for note in fit.notes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arm": {"method": "unet"}}, "'point_clouds' applies to point clouds, but the method is trained on volumes"),
        (
            {"task": "regression"},
            "task 'regression' does not exist for point clouds; use segmentation or classification",
        ),
        ({"preprocessing": {"modality": "ct"}}, "'preprocessing' applies to volumes"),
        ({"training": {"patch_size": [8, 8, 8]}}, "'training.patch_size' does not apply to point clouds"),
    ],
)
def test_options_of_the_other_modality_are_refused(changes, message, data):
    with pytest.raises(ConfigError) as error:
        parse({**raw(data), **changes}, TrainConfig)
    assert message in str(error.value)


def test_dataset_of_the_other_modality_is_refused(data):
    config = parse({**raw(data), "arm": {"method": "unet"}, "point_clouds": {}}, TrainConfig)
    with pytest.raises(ConfigError, match=r"holds point clouds, but the method is trained on volumes.*point_unet"):
        open_configured_dataset(config)


def test_arms_of_a_study_share_one_modality(data):
    content = raw(data)
    arms = {"sparse": content.pop("arm"), "dense": {"method": "unet"}}
    with pytest.raises(ConfigError, match="one modality, but 'sparse' takes point clouds and 'dense' takes volumes"):
        parse({**content, "arms": arms}, StudyConfig)


def test_study_adds_a_baseline_and_hashes_sampling_options(data):
    content = raw(data, "classification", "point_vit")
    arm = content.pop("arm")
    study = parse({**content, "arms": {"lifted": arm}}, StudyConfig)
    assert list(study.arms) == ["point_unet", "lifted"]
    assert list(parse({**content, "arms": {"lifted": arm}, "baseline": False}, StudyConfig).arms) == ["lifted"]

    def run_id(study):
        return study.run_config("lifted", train_size=TrainSize(1.0), fold=0, seed=0).run_id("m")

    run_ids = {run_id(study)}
    for key, value in (("num_points", 32), ("normalise", "centre"), ("features", ["colours"]), ("rotation", "any")):
        changed = {**content, "point_clouds": {**content["point_clouds"], key: value}, "arms": {"lifted": arm}}
        run_ids.add(run_id(parse(changed, StudyConfig)))
    assert len(run_ids) == 5


@pytest.mark.parametrize("layout", ["folder", "one file"])
def test_job_runs_in_another_process(layout, data, tmp_path):
    content = raw(data, "classification", budget={"steps": 1})
    if layout == "one file":
        points = np.random.default_rng(0).normal(size=(6, 60, 3)).astype(np.float32)
        np.savez(tmp_path / "set.npz", points=points, labels=np.arange(6) % 2, classes=["chair", "lamp"])
        content["dataset"] = {"path": str(tmp_path / "set.npz")}
    arm = content.pop("arm")
    study = parse({**content, "arms": {"plain": arm}, "seeds": [0]}, StudyConfig)
    (job,) = make_jobs(planned_runs(study), open_configured_dataset(study), tmp_path)
    assert run_job_json(job.to_json()) == ""
    record = RunRecord.load(tmp_path / "records" / f"{job.run_id}.json")
    assert record.status == "finished"
    assert {score.metric for score in record.scores} == {"accuracy", "macro_f1", "auroc"}


def test_class_weights_match_the_classes(data):
    config = parse(raw(data, training={**TRAINING, "class_weights": "balanced"}), TrainConfig)
    weights = load_run_data(config, open_configured_dataset(config)).task.class_weights
    assert weights == pytest.approx((0.75, 1.5))  # of 90 points 60 are floor
    config = parse(raw(data, training={**TRAINING, "class_weights": [1, 2, 3]}), TrainConfig)
    with pytest.raises(ConfigError, match="3 numbers for 2 classes; give one for each, in the order 2, 5"):
        load_run_data(config, open_configured_dataset(config))


def test_skip_corrupt_leaves_out_and_records_files(data, tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for file in (data / "scans").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    whole = (folder / "0.ply").read_bytes()
    (folder / "9.ply").write_bytes(whole[: len(whole) // 2])
    content = raw(data, dataset={"path": str(folder)}, budget={"steps": 1})
    with pytest.raises(DataError, match=r"9\.ply"):
        train(parse(content, TrainConfig), tmp_path / "refused")
    content["dataset"]["skip_corrupt"] = True
    record = train(parse(content, TrainConfig), tmp_path / "run")
    assert record.extra["corrupt_files"] == 1
    assert "9.ply" in json.dumps(record.extra["left_out"])
