"""Learning curves: what a run tells is written where it was asked for, and nothing twice after an interruption."""

import csv

import pytest

from dimlift.errors import RunError, UnknownName
from dimlift.progress import Event
from dimlift.records.record import Score
from dimlift.studies.train import train
from dimlift.training.logger_backends import CURVES, CsvCurve, TensorBoardCurve
from dimlift.training.loggers import Curves, means
from small_runs import train_config


def rows(path):
    with path.open(newline="") as stream:
        return [(int(r["step"]), r["name"], float(r["value"])) for r in csv.DictReader(stream)]


def scalars(folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder))
    found.Reload()
    return {name: [(e.step, e.value) for e in found.Scalars(name)] for name in found.Tags()["scalars"]}


def test_a_run_is_told_in_every_place(data, tmp_path):
    training = {"patch_size": [8, 8, 8], "batch_size": 1, "threads": 1, "device": "cpu", "validate_every": 0.5}
    heard = []
    with Curves(["csv", "tensorboard"], tmp_path / "curves", heard.append) as curves:
        record = train(train_config(data, training=training), tmp_path / "run", progress=curves)
        curves.scored(record)
    told = rows(tmp_path / "curves/csv/train.csv")
    events = [(e.step, "loss", e.loss) for e in heard if e.stage == "train" and e.loss is not None]
    assert events
    assert told[: len(events)] == events
    assert [step for step, name, _ in told if name == "validation/dice"] == [2, 4]
    assert (4, "test/dice/1", means(record.scores)["test/dice/1"]) in told
    board = scalars(tmp_path / "curves/tensorboard/train")
    for step, name, value in told:
        assert any(s == step and v == pytest.approx(value) for s, v in board[name])


def test_the_runs_of_a_study_are_kept_apart(tmp_path):
    with Curves(["csv"], tmp_path) as curves:
        for cell in (1, 2):
            curves(Event("train", "unet", step=1, loss=float(cell), cell=cell, cells=2))
    assert rows(tmp_path / "csv/001_unet.csv") == [(1, "loss", 1.0)]
    assert rows(tmp_path / "csv/002_unet.csv") == [(1, "loss", 2.0)]


@pytest.mark.parametrize("kind", [CsvCurve, TensorBoardCurve])
def test_a_run_that_goes_on_leaves_no_step_twice(kind, tmp_path):
    for first in (1, 3):
        curve = kind(tmp_path, "run", first)
        for step in range(first, 5):
            curve.write(step, {"loss": first + step / 10})
        curve.close()
    wanted = [(1, 1.1), (2, 1.2), (3, 3.3), (4, 3.4)]
    if kind is CsvCurve:
        found = [(step, value) for step, _, value in rows(tmp_path / "run.csv")]
    else:
        found = scalars(tmp_path / "run")["loss"]
    assert found == [(step, pytest.approx(value)) for step, value in wanted]


@pytest.mark.parametrize("kind", ["wandb", "mlflow"])
def test_other_places_keep_their_numbers_on_this_disk(kind, tmp_path, monkeypatch):
    pytest.importorskip(kind)
    for name in ("WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    curve = CURVES[kind](tmp_path, "run", 1)
    curve.write(1, {"loss": 0.5, "test/dice/left part": 0.25})
    curve.write(2, {"loss": 0.125})
    curve.close()
    if kind == "mlflow":
        (found,) = tmp_path.rglob("metrics/loss")
        assert [line.split()[1:] for line in found.read_text().splitlines()] == [["0.5", "1"], ["0.125", "2"]]
    else:
        assert curve._run.step == 2
        assert len(list(tmp_path.rglob("*.wandb"))) == 1


def test_a_place_that_does_not_exist_or_lacks_its_package_is_refused_before_the_run(tmp_path, monkeypatch):
    with pytest.raises(UnknownName, match=r"unknown log 'comet'; choose one of: csv, mlflow"):
        Curves(["comet"], tmp_path)
    monkeypatch.setattr("dimlift.training.logger_backends.find_spec", lambda name: None)
    with pytest.raises(RunError, match=r"needs tensorboard; pip install 'dimlift\[tensorboard\]', or take csv"):
        Curves(["tensorboard"], tmp_path)
    assert not list(tmp_path.iterdir())


def test_undefined_scores_are_left_out_of_means():
    scores = [Score("a", "1", "dice", 0.5), Score("b", "1", "dice", None), Score("c", "1", "dice", 1.0)]
    assert means(scores) == {"test/dice/1": 0.75}
    assert means([Score("b", "1", "dice", None)]) == {}
