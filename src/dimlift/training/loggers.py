"""Loggers of learning curves: CSV, TensorBoard, Weights & Biases and MLflow, fed by the progress events of a run.

All but CSV are the loggers of Lightning. Its CSV logger deletes earlier steps when a run is resumed, so that format has
a logger of its own.
"""

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from dimlift.backbones.torchvision_ops import ensure_torchvision_imports
from dimlift.errors import RunError
from dimlift.lookup import pick
from dimlift.progress import Event, Progress, no_progress
from dimlift.records.csv_text import to_csv
from dimlift.records.own_file import open_own_file
from dimlift.records.record import RunRecord, Score


class Logger(Protocol):
    """The part of Lightning's logger interface that is used here."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log the metrics of a step."""

    def finalize(self, status: str) -> None:
        """Write everything; no more metrics follow."""


class CSVLogger:
    """`NAME.csv` with the columns step, name, value, flushed at every call.

    Args:
        folder: folder of the file.
        name: name of the run.
        first_step: first step that will be logged; later rows of an interrupted run are dropped.
    """

    def __init__(self, folder: Path, name: str, first_step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.csv"
        kept = [row for row in _read_curve(path) if row[0] < first_step] if path.is_file() else []
        self._file = os.fdopen(open_own_file(path, os.O_RDWR), "w", newline="", encoding="utf-8")
        self._file.truncate(0)
        self._file.write(to_csv([["step", "name", "value"], *kept]))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write one row per metric."""
        self._file.write(to_csv([step, name, float(value)] for name, value in metrics.items()))
        self._file.flush()

    def finalize(self, status: str) -> None:
        """Close the file."""
        self._file.close()


def _read_curve(path: Path) -> Iterator[tuple[int, str, float]]:
    """Yield the rows of a file of `CSVLogger` that are complete; a killed run may have left half a row."""
    with path.open(newline="", encoding="utf-8", errors="replace") as previous:
        for row in csv.reader(previous):
            with suppress(ValueError):
                step, name, value = row
                yield int(step), name, float(value)


def _tensorboard(folder: Path, name: str, first_step: int) -> Logger:
    """Event files in FOLDER/NAME; steps of an interrupted run from `first_step` on are purged."""
    ensure_torchvision_imports()
    from lightning.fabric.loggers import TensorBoardLogger

    return TensorBoardLogger(folder, name=name, version="", purge_step=first_step)


def _wandb(folder: Path, name: str, first_step: int) -> Logger:
    """A run of Weights & Biases, offline unless WANDB_MODE is set (`wandb sync` uploads it later)."""
    ensure_torchvision_imports()
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    class _ClosingWandbLogger(WandbLogger):
        def finalize(self, status: str) -> None:
            super().finalize(status)
            self.experiment.finish()  # a study logs several runs in one process

    folder.mkdir(parents=True, exist_ok=True)
    return _ClosingWandbLogger(
        name=name,
        save_dir=folder,
        project="dimlift",
        mode=os.environ.get("WANDB_MODE", "offline"),
        reinit="create_new",
        settings=wandb.Settings(silent=True),
    )


def _mlflow(folder: Path, name: str, first_step: int) -> Logger:
    """A run of MLflow, in FOLDER unless MLFLOW_TRACKING_URI is set."""
    ensure_torchvision_imports()
    from lightning.pytorch.loggers import MLFlowLogger

    class _RenamingMLFlowLogger(MLFlowLogger):
        def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
            super().log_metrics({key.replace("@", "_"): value for key, value in metrics.items()}, step)

    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri is None:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # the run folder is a file store
        uri = folder.resolve().as_uri()
    return _RenamingMLFlowLogger(experiment_name="dimlift", run_name=name, tracking_uri=uri)


@dataclass(frozen=True)
class LoggerType:
    """How loggers of one type are created, and the optional package they need.

    Attributes:
        create: creates a logger from (folder, name of the run, first step).
        package: the package; also the name of the extra that installs it.
    """

    create: Callable[[Path, str, int], Logger]
    package: str | None = None

    def require(self) -> None:
        """Check that the package is installed.

        Raises:
            RunError: naming the extra that installs it.
        """
        if self.package is not None and find_spec(self.package) is None:
            raise RunError(f"this logger needs {self.package}; pip install 'dimlift[{self.package}]', or use csv")


LOGGERS: dict[str, LoggerType] = {
    "csv": LoggerType(CSVLogger),
    "tensorboard": LoggerType(_tensorboard, "tensorboard"),
    "wandb": LoggerType(_wandb, "wandb"),
    "mlflow": LoggerType(_mlflow, "mlflow"),
}
"""Logger types by the value of `--log`."""


class Loggers:
    """Progress callback that logs the learning curve of every run with several loggers.

    Use as a context manager and pass as `progress=`; call `log_scores` with the record of each finished run.

    Args:
        types: names in `LOGGERS`.
        folder: parent of one folder per type.
        then: callback that receives every event afterwards.

    Raises:
        UnknownNameError: for an unknown type.
        RunError: if the package of a type is not installed.
    """

    def __init__(self, types: Sequence[str], folder: Path, then: Progress = no_progress) -> None:
        self._then = then
        self._open: dict[str, list[Logger]] = {}
        self._types = {name: pick("log", LOGGERS, name) for name in types}
        self._folder = folder
        for logger_type in self._types.values():
            logger_type.require()

    def __enter__(self) -> "Loggers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        for loggers in self._open.values():
            for logger in loggers:
                logger.finalize("success" if fault is None else "failed")

    def __call__(self, event: Event) -> None:
        """Log the loss of a training event, and pass the event on."""
        self._then(event)
        if event.stage == "train" and event.loss is not None:
            self._log(_run_name(event.arm, event.run_index, event.num_runs), event.step, {"loss": event.loss})

    def log_scores(self, record: RunRecord, run_index: int = 1, num_runs: int = 1) -> None:
        """Log the validation scores of a run and the means over its test cases.

        Args:
            record: the record of the run.
            run_index: index of the run in the study, counted from 1.
            num_runs: number of runs in the study.
        """
        name = _run_name(record.arm, run_index, num_runs)
        for point in record.history:
            scores = {f"validation/{key}": v for key, v in point.items() if key not in ("step", "seconds", "loss")}
            if scores:
                self._log(name, int(point["step"]), scores)
        self._log(name, record.steps, mean_scores(record.scores))

    def _log(self, name: str, step: int, metrics: dict[str, float]) -> None:
        if name not in self._open:
            self._open[name] = [
                logger_type.create(self._folder / kind, name, step) for kind, logger_type in self._types.items()
            ]
        for logger in self._open[name]:
            logger.log_metrics(metrics, step)


def mean_scores(scores: Sequence[Score]) -> dict[str, Any]:
    """Return the mean of every metric and class over the cases where it is defined, as "test/METRIC/CLASS"."""
    values: dict[str, list[float]] = {}
    for score in scores:
        if score.value is not None:
            values.setdefault(f"test/{score.metric}/{score.class_}", []).append(score.value)
    return {name: sum(found) / len(found) for name, found in values.items()}


def _run_name(arm: str, run_index: int, num_runs: int) -> str:
    return arm if num_runs == 1 else f"{run_index:03d}_{arm}"
