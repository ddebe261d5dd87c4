"""Default configurations of `dimlift train DATASET`."""

import numpy as np
import pytest
from command_line import run_cli, run_rejected

from dimlift.data.io.point_cloud_writer import write_point_labels
from dimlift.errors import ConfigError, DataError
from dimlift.studies.defaults import SECONDS, describe_plan, study_config, train_config


@pytest.mark.parametrize("name", ["2024", "true", "a: b", "data/hippocampus"])
def test_dataset_path_is_never_parsed_as_yaml(name):
    assert train_config(name).dataset.path == name


def test_budget_replaces_default():
    assert train_config("data").budget.seconds == SECONDS
    assert train_config("data", ["budget.steps=7"]).budget.steps == 7
    assert train_config("data", ["budget.steps=7"]).budget.seconds is None


def test_error_names_override_not_default_file(tmp_path):
    with pytest.raises(ConfigError, match=r"^unknown key 'split.test'; did you mean"):
        train_config("data", ["split.test=0.2"])
    path = tmp_path / "config.yaml"
    path.write_text("dataset: {path: data}\narm: {method: unet}\nbudget: {steps: 3}\n")
    with pytest.raises(ConfigError, match=r"config.yaml with split.test=0.2: unknown key 'split.test'"):
        train_config(path, ["split.test=0.2"])


def test_train_config_reads_yaml_file(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("dataset: {path: data}\narm: {method: unet}\nbudget: {steps: 3}\n")
    config = train_config(path, ["seed=5"])
    assert (config.arm.method, config.budget.steps, config.seed) == ("unet", 3, 5)


DATASETS = {"per point": "segmentation", "per file": "classification", "table.csv": "classification"}


@pytest.fixture
def point_clouds(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(4):
        labels = np.array([3, 5] * 20, np.int32)
        write_point_labels(tmp_path / "per point" / f"{number}.ply", rng.normal(size=(40, 3)), labels)
        kind = tmp_path / "per file" / ("ball", "rod")[number % 2]
        kind.mkdir(parents=True, exist_ok=True)
        np.save(kind / f"{number}.npy", rng.normal(size=(40, 3)))
    rows = [f"per file/{kind}/{n}.npy,{kind}" for n, kind in enumerate(["ball", "rod"] * 2)]
    (tmp_path / "table.csv").write_text("\n".join(["cloud,label", *rows]))
    return tmp_path


@pytest.mark.parametrize("name", DATASETS)
def test_train_config_detects_point_clouds_and_task(name, point_clouds):
    config = train_config(point_clouds / name, ["budget.steps=7"])
    assert (config.dataset.path, config.task, config.arm.modality) == (
        str(point_clouds / name),
        DATASETS[name],
        "point_clouds",
    )
    assert config.budget.steps == 7
    assert config.point_clouds.num_points == 4096
    result = run_cli("check", point_clouds / name)
    assert result.code == 0, result.err
    assert "4 cases, 2 labels, no issues" in result.out


def test_overrides_replace_detected_task(point_clouds):
    config = train_config(point_clouds / "per file", ["task=segmentation", "point_clouds.num_points=64"])
    assert (config.task, config.point_clouds.num_points) == ("segmentation", 64)
    assert "have no labels" in run_rejected("check", point_clouds / "per file", "--task", "segmentation")


def test_volume_among_point_clouds_makes_volume_dataset(point_clouds):
    (point_clouds / "per point" / "scan.nii.gz").touch()
    with pytest.raises(DataError, match="no folder of masks"):
        train_config(point_clouds / "per point")


def test_embed_rejects_point_clouds_without_weights(point_clouds):
    assert "point clouds need --weights" in run_rejected(
        "embed", point_clouds / "per point", "--out", point_clouds / "emb.npz"
    )


@pytest.mark.parametrize("labels", [None, "classes"])
def test_compare_of_a_dataset_has_a_baseline_a_route_and_its_control(dataset, tmp_path, labels):
    data = dataset()
    if labels:
        rows = [f"{path},{'ab'[n % 2]}" for n, path in enumerate(sorted((data / "imagesTr").iterdir()))]
        data = tmp_path / "table.csv"
        data.write_text("\n".join(["image,label", *rows]))
    config = study_config(data, ["seeds=[0,1]"])
    assert config.task == ("classification" if labels else "segmentation")
    assert config.reference == next(iter(config.arms))
    route, control = list(config.arms.values())[1:]
    random = {"pretrained": False} if labels else {"network": "random"}
    assert route.model_copy(update={**random, "title": ""}) == control.model_copy(update={"title": ""})
    assert config.budget.seconds == SECONDS
    assert describe_plan(config).startswith("6 runs (3 arms x 2 of seed, cv fold and training size) of 600 s")
    assert "one after the other: 60 min" in describe_plan(config)
    assert "2 at a time: 30 min" in describe_plan(config, 2)


def test_compare_of_a_dataset_runs(dataset, tmp_path):
    quick = ["budget.steps=1", "seeds=[0]", "training.patch_size=[16,16,16]", "training.batch_size=1"]
    result = run_cli("compare", dataset(), *quick, "training.num_threads=1", "--out", tmp_path / "study")
    assert result.code == 0, result.out + result.err
    assert "3 runs" in result.out
    assert (tmp_path / "study" / "report.html").exists()


def test_compare_of_point_clouds_needs_a_file(point_clouds):
    with pytest.raises(ConfigError, match="dimlift examples"):
        study_config(point_clouds / "per file")
