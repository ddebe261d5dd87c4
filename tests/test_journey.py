"""Complete workflow on real volumes: check, train, predict, and verify the written files."""

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from dimlift.metrics.segmentation import dice

TWENTY_STEPS = ("arm.method=lifted", "budget.steps=20", "training.batch_size=1", "split.folds=3")
HIPPOCAMPUS = Path(__file__).parents[2] / "shared" / "data" / "hippocampus"
CASES = ("001", "003", "004", "006", "007", "011")

pytestmark = pytest.mark.skipif(
    not HIPPOCAMPUS.is_dir(), reason="the hippocampus volumes are missing (../shared/data/hippocampus)"
)


def dimlift(*words):
    from dimlift.cli.app import app

    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("journey") / "data"
    for kind in ("images", "labels"):
        (root / kind).mkdir(parents=True)
        for case in CASES:
            name = f"hippocampus_{case}.nii.gz"
            shutil.copy(HIPPOCAMPUS / kind / name, root / kind / name)
    return root


@pytest.fixture(scope="module")
def run(data):
    dimlift("check", data)
    out = data.parent / "run"
    dimlift("train", data, *TWENTY_STEPS, "--out", out)
    return out


def test_train_writes_weights_card_and_record(run):
    card = json.loads((run / "weights" / "model.json").read_text())
    assert card["task"] == "segmentation"
    assert card["source"] == "packaged:efficientnet_lite0"
    assert card["licence"].lower() == "apache-2.0"
    assert card["certificate"] is not None
    assert (run / "weights" / "model.safetensors").is_file()
    (record,) = (json.loads(path.read_text()) for path in (run / "records").glob("*.json"))
    assert record["steps"] == 20
    assert record["status"] == "finished"
    assert record["history"][-1]["loss"] < record["history"][0]["loss"]


def test_predict_reproduces_recorded_scores(run, data, tmp_path):
    (record,) = (json.loads(path.read_text()) for path in (run / "records").glob("*.json"))
    tested = sorted({score["case"] for score in record["scores"]})
    assert len(tested) == 2
    for case in tested:
        image = data / "images" / f"{case}.nii.gz"
        dimlift("predict", run, image, tmp_path)
        written = nibabel.load(tmp_path / f"{case}.nii.gz")
        original, truth = nibabel.load(image), nibabel.load(data / "labels" / f"{case}.nii.gz")
        assert written.shape == original.shape
        np.testing.assert_allclose(written.affine, original.affine, atol=1e-6)
        labels = np.asarray(written.dataobj)
        assert set(np.unique(labels)) <= {0, 1, 2}
        for value in (1, 2):
            recorded = next(
                score["value"]
                for score in record["scores"]
                if score["case"] == case and score["metric"] == "dice" and score["class"] == str(value)
            )
            found = dice(labels == value, np.asarray(truth.dataobj) == value)
            assert found == pytest.approx(recorded, abs=1e-9)


def test_twenty_steps_exceed_chance_level(run):
    """A fifth of these crops is hippocampus; random labels have a Dice of about 0.1 per class."""
    (record,) = (json.loads(path.read_text()) for path in (run / "records").glob("*.json"))
    values = [score["value"] for score in record["scores"] if score["metric"] == "dice"]
    assert np.mean(values) > 0.2


def test_repeating_finished_run_changes_nothing(run, data):
    before = {path: path.read_bytes() for path in run.rglob("*.json")}
    dimlift("train", data, *TWENTY_STEPS, "--out", run)
    assert before == {path: path.read_bytes() for path in run.rglob("*.json")}
