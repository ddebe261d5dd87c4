"""Loggers of learning curves: complete, separate per run, and without duplicate steps after an interruption."""

import csv

import pytest

from dimlift.errors import RunError, UnknownNameError
from dimlift.progress import Event
from dimlift.records.record import Score
from dimlift.studies.train import train
from dimlift.training.loggers import LOGGERS, Loggers, mean_scores
from small_runs import train_config


def rows(path):
    with path.open(newline="") as stream:
        return [(int(r["step"]), r["name"], float(r["value"])) for r in csv.DictReader(stream)]


def scalars(folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder))
    found.Reload()
    return {name: [(e.step, e.value) for e in found.Scalars(name)] for name in found.Tags()["scalars"]}


def test_loggers_receive_losses_validation_and_test_scores(data, tmp_path):
    training = {"patch_size": [8, 8, 8], "batch_size": 1, "num_threads": 1, "device": "cpu", "val_interval": 0.5}
    events = []
    with Loggers(["csv", "tensorboard"], tmp_path / "curves", events.append) as loggers:
        record = train(train_config(data, training=training), tmp_path / "run", progress=loggers)
        loggers.log_scores(record)
    logged = rows(tmp_path / "curves/csv/train.csv")
    losses = [(e.step, "loss", e.loss) for e in events if e.stage == "train" and e.loss is not None]
    assert losses
    assert logged[: len(losses)] == losses
    assert [step for step, name, _ in logged if name == "validation/dice"] == [2, 4]
    assert (4, "test/dice/1", mean_scores(record.scores)["test/dice/1"]) in logged
    board = scalars(tmp_path / "curves/tensorboard/train")
    for step, name, value in logged:
        assert any(s == step and v == pytest.approx(value) for s, v in board[name])


def test_loggers_separate_the_runs_of_a_study(tmp_path):
    with Loggers(["csv"], tmp_path) as loggers:
        for index in (1, 2):
            loggers(Event("train", "unet", step=1, loss=float(index), run_index=index, num_runs=2))
    assert rows(tmp_path / "csv/001_unet.csv") == [(1, "loss", 1.0)]
    assert rows(tmp_path / "csv/002_unet.csv") == [(1, "loss", 2.0)]


@pytest.mark.parametrize("kind", ["csv", "tensorboard"])
def test_logger_replaces_steps_after_resuming(kind, tmp_path):
    for first_step in (1, 3):
        logger = LOGGERS[kind].create(tmp_path, "run", first_step)
        for step in range(first_step, 5):
            logger.log_metrics({"loss": first_step + step / 10}, step)
        logger.finalize("success")
    expected = [(1, 1.1), (2, 1.2), (3, 3.3), (4, 3.4)]
    if kind == "csv":
        found = [(step, value) for step, _, value in rows(tmp_path / "run.csv")]
    else:
        found = scalars(tmp_path / "run")["loss"]
    assert found == [(step, pytest.approx(value)) for step, value in expected]


@pytest.mark.parametrize("kind", ["wandb", "mlflow"])
def test_logger_is_offline_by_default(kind, tmp_path, monkeypatch):
    pytest.importorskip(kind)
    for name in ("WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    logger = LOGGERS[kind].create(tmp_path, "run", 1)
    logger.log_metrics({"loss": 0.5, "test/nsd@2mm/left part": 0.25}, 1)
    logger.log_metrics({"loss": 0.125}, 2)
    logger.finalize("success")
    if kind == "mlflow":
        (found,) = tmp_path.rglob("metrics/loss")
        assert [line.split()[1:] for line in found.read_text().splitlines()] == [["0.5", "1"], ["0.125", "2"]]
    else:
        assert len(list(tmp_path.rglob("*.wandb"))) == 1


def test_loggers_reject_unknown_types_and_missing_packages(tmp_path, monkeypatch):
    with pytest.raises(UnknownNameError, match=r"unknown log 'comet'; choose one of: csv, mlflow"):
        Loggers(["comet"], tmp_path)
    monkeypatch.setattr("dimlift.training.loggers.find_spec", lambda name: None)
    with pytest.raises(RunError, match=r"needs tensorboard; pip install 'dimlift\[tensorboard\]', or use csv"):
        Loggers(["tensorboard"], tmp_path)
    assert not list(tmp_path.iterdir())


def test_mean_scores_skip_undefined_scores():
    scores = [Score("a", "1", "dice", 0.5), Score("b", "1", "dice", None), Score("c", "1", "dice", 1.0)]
    assert mean_scores(scores) == {"test/dice/1": 0.75}
    assert mean_scores([Score("b", "1", "dice", None)]) == {}


def test_curve_is_written_through_no_link_and_half_a_row_is_dropped(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("my text")
    (tmp_path / "run.csv").symlink_to(mine)
    with pytest.raises(RunError, match="is a link"):
        LOGGERS["csv"].create(tmp_path, "run", 1)
    assert mine.read_text() == "my text"
    (tmp_path / "half.csv").write_text("step,name,value\n1,loss,-0.5\n2,lo")
    LOGGERS["csv"].create(tmp_path, "half", 2).finalize("success")
    assert (tmp_path / "half.csv").read_text() == "step,name,value\n1,loss,-0.5\n"
