"""The places a learning curve can go. Another one is a class here and a line in CURVES."""

import csv
import os
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Protocol

from dimlift.errors import RunError


class Curve(Protocol):
    """One run's numbers over its steps, in one place.

    Made of a folder, the name of the run, and the first step that will come: what an interrupted run told of that step
    and later ones is forgotten, where the place can forget.
    """

    def __init__(self, folder: Path, name: str, first: int) -> None: ...

    @classmethod
    def require(cls) -> None:
        """Raises: RunError, if a package is missing."""

    def write(self, step: int, values: dict[str, float]) -> None:
        """Add the numbers of a step."""

    def close(self) -> None:
        """No more will come."""


class CsvCurve:
    """`NAME.csv` with the columns step, name, value; every line is on disk at once."""

    def __init__(self, folder: Path, name: str, first: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.csv"
        kept: list[list[str]] = []
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as before:
                kept = [row for row in list(csv.reader(before))[1:] if len(row) == 3 and int(row[0]) < first]
        self._file = path.open("w", newline="", encoding="utf-8")
        self._rows = csv.writer(self._file)
        self._rows.writerows([["step", "name", "value"], *kept])

    @classmethod
    def require(cls) -> None:
        """Nothing."""

    def write(self, step: int, values: dict[str, float]) -> None:
        """One line a number."""
        self._rows.writerows([step, name, repr(value)] for name, value in values.items())
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _Extra:
    """A place that needs a package."""

    package: ClassVar[str]
    extra: ClassVar[str]

    @classmethod
    def require(cls) -> None:
        """Raises: RunError, naming the extra."""
        if find_spec(cls.package) is None:
            raise RunError(f"this log needs {cls.package}; pip install 'dimlift[{cls.extra}]', or take csv")


class TensorBoardCurve(_Extra):
    """Event files for `tensorboard --logdir`."""

    package = extra = "tensorboard"

    def __init__(self, folder: Path, name: str, first: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / name), purge_step=first)

    def write(self, step: int, values: dict[str, float]) -> None:
        """One scalar a number."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


class WandbCurve(_Extra):
    """A run of Weights & Biases, kept on this disk unless WANDB_MODE says otherwise (`wandb sync` sends it later)."""

    package = extra = "wandb"

    def __init__(self, folder: Path, name: str, first: int) -> None:
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        mode = os.environ.get("WANDB_MODE", "offline")
        quiet = wandb.Settings(silent=True)
        self._run = wandb.init(
            project="dimlift", name=name, dir=str(folder), mode=mode, reinit="create_new", settings=quiet
        )

    def write(self, step: int, values: dict[str, float]) -> None:
        """One row a step."""
        self._run.log({**values, "training_step": step})

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


class MlflowCurve(_Extra):
    """A run of MLflow, in a folder unless MLFLOW_TRACKING_URI says otherwise."""

    package = extra = "mlflow"

    def __init__(self, folder: Path, name: str, first: int) -> None:
        place = os.environ.get("MLFLOW_TRACKING_URI")
        if place is None:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # a folder is what fits beside a run
            place = folder.resolve().as_uri()
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri=place)
        found = self._client.get_experiment_by_name("dimlift")
        experiment = self._client.create_experiment("dimlift") if found is None else found.experiment_id
        self._run = self._client.create_run(experiment, run_name=name).info.run_id

    def write(self, step: int, values: dict[str, float]) -> None:
        """One metric a number."""
        for name, value in values.items():
            self._client.log_metric(self._run, name.replace("@", "_"), value, step=step)

    def close(self) -> None:
        """Finish the run."""
        self._client.set_terminated(self._run)


CURVES: dict[str, type[Curve]] = {
    "csv": CsvCurve,
    "tensorboard": TensorBoardCurve,
    "wandb": WandbCurve,
    "mlflow": MlflowCurve,
}
