"""What `dimlift train DATASET` fills in."""

import numpy as np
import pytest
from command_line import ask, refused

from dimlift.data.io.point_cloud_writer import write_labelled
from dimlift.errors import ConfigError
from dimlift.studies.defaults import SECONDS, train_config


@pytest.mark.parametrize("name", ["2024", "true", "a: b", "data/hippocampus"])
def test_a_data_set_keeps_its_name_whatever_yaml_would_read_into_it(name):
    assert train_config(name).dataset.path == name


def test_a_budget_takes_the_place_of_the_default_one():
    assert train_config("data").budget.seconds == SECONDS
    assert train_config("data", ["budget.steps=7"]).budget.steps == 7
    assert train_config("data", ["budget.steps=7"]).budget.seconds is None


def test_a_fault_is_looked_for_where_it_was_typed(tmp_path):
    """Nobody who names a data set has seen the file of defaults."""
    with pytest.raises(ConfigError, match=r"^unknown key 'split.test'; did you mean"):
        train_config("data", ["split.test=0.2"])
    path = tmp_path / "config.yaml"
    path.write_text("dataset: {path: data}\narm: {method: unet}\nbudget: {steps: 3}\n")
    with pytest.raises(ConfigError, match=r"config.yaml with split.test=0.2: unknown key 'split.test'"):
        train_config(path, ["split.test=0.2"])


def test_a_configuration_is_read_as_one(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("dataset: {path: data}\narm: {method: unet}\nbudget: {steps: 3}\n")
    config = train_config(path, ["seed=5"])
    assert (config.arm.method, config.budget.steps, config.seed) == ("unet", 3, 5)


CLOUDS = {"per point": "segmentation", "per cloud": "classification", "table.csv": "classification"}


@pytest.fixture
def clouds(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(4):
        labels = np.array([3, 5] * 20, np.int32)
        write_labelled(tmp_path / "per point" / f"{number}.ply", rng.normal(size=(40, 3)), labels)
        kind = tmp_path / "per cloud" / ("ball", "rod")[number % 2]
        kind.mkdir(parents=True, exist_ok=True)
        np.save(kind / f"{number}.npy", rng.normal(size=(40, 3)))
    rows = [f"per cloud/{kind}/{n}.npy,{kind}" for n, kind in enumerate(["ball", "rod"] * 2)]
    (tmp_path / "table.csv").write_text("\n".join(["cloud,label", *rows]))
    return tmp_path


@pytest.mark.parametrize("name", CLOUDS)
def test_clouds_are_seen_by_themselves_and_so_is_what_is_labelled(name, clouds):
    config = train_config(clouds / name, ["budget.steps=7"])
    assert (config.clouds.path, config.task, config.dataset) == (str(clouds / name), CLOUDS[name], None)
    assert config.budget.steps == 7
    assert config.clouds.points == 4096
    answer = ask("check", clouds / name)
    assert answer.code == 0, answer.err
    assert "4 cases, 2 labels, nothing wrong" in answer.out


def test_what_is_told_wins_over_what_is_seen(clouds):
    told = train_config(clouds / "per cloud", ["task=segmentation", "clouds.points=64"])
    assert (told.task, told.clouds.points) == ("segmentation", 64)
    assert "have no labels" in refused("check", clouds / "per cloud", "--task", "segmentation")


def test_one_volume_among_clouds_makes_a_data_set_of_volumes(clouds):
    (clouds / "per point" / "scan.nii.gz").touch()
    assert train_config(clouds / "per point").clouds is None


def test_whoever_wants_volumes_and_gets_clouds_says_so(clouds):
    assert "holds clouds of points, and volumes are wanted" in refused(
        "embed", clouds / "per point", "--out", clouds / "emb.npz"
    )
