"""A run as a job for another process or machine: plain JSON that every installation of dimlift can execute."""

import json
import os
import platform
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dimlift.config.sections import ResourcesSection
from dimlift.data.case import Dataset
from dimlift.errors import DataError, DimliftError, RunError, RunInterrupted
from dimlift.studies.attempt import run_job
from dimlift.studies.config_checks import open_configured_dataset
from dimlift.studies.run_config import TrainConfig
from dimlift.training.signals import raise_on_signal

INTERRUPTED = "interrupted"
DONE = ""


@dataclass(frozen=True)
class Job:
    """One run to execute.

    Attributes:
        run_id: hash of configuration, data, training size, fold and seed.
        manifest: hash of the contents of the dataset's files, computed once by the submitting process.
        file_size_hash: hash of their names and sizes, verified by the executing machine.
        folder: the paths in the configuration are relative to it.
        out: study folder.
    """

    run_id: str
    config: TrainConfig
    manifest: str
    file_size_hash: str
    folder: Path
    out: Path

    def to_json(self) -> str:
        """Serialise the job."""
        return json.dumps(
            {
                "run_id": self.run_id,
                "config": self.config.model_dump(mode="json"),
                "manifest": self.manifest,
                "file_size_hash": self.file_size_hash,
                "folder": str(self.folder),
                "out": str(self.out),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "Job":
        """Parse the result of `to_json`."""
        fields = json.loads(text)
        config = TrainConfig.model_validate(fields.pop("config"))
        folder, out = Path(fields.pop("folder")), Path(fields.pop("out"))
        return cls(config=config, folder=folder, out=out, **fields)


class Executor(Protocol):
    """Callable that executes jobs."""

    def __call__(self, jobs: list[Job], resources: ResourcesSection) -> Generator[tuple[Job, str], None, None]:
        """Execute all jobs and yield each with an empty string once its record is written, or with an error message.

        Closing the generator cancels the jobs that are still running.

        Raises:
            RunError: if the jobs cannot be executed; finished runs are kept.
        """


def make_jobs(runs: list[TrainConfig], dataset: Dataset, out: Path) -> list[Job]:
    """Return the runs of a study as jobs."""
    manifest, file_size_hash = dataset.manifest_hash(), dataset.file_size_hash()
    return [Job(run.run_id(manifest), run, manifest, file_size_hash, Path.cwd(), out.resolve()) for run in runs]


def run_job_json(text: str) -> str:
    """Execute a serialised job in this process.

    Returns:
        `DONE` once the record is written (its status may be "failed"), `INTERRUPTED`, or an error message if the job
        could not be started on this machine.
    """
    job = Job.from_json(text)
    try:
        with raise_on_signal():
            run_job(job.config, _open_dataset(job), job.out)
    except RunInterrupted:
        return INTERRUPTED
    except DimliftError as error:
        return str(error)
    return DONE


def _open_dataset(job: Job) -> Dataset:
    """Open the dataset on this machine.

    Raises:
        RunError: if this machine cannot access the folders of the study.
        DataError: if the dataset has other files here than on the submitting machine.
    """
    for folder in (job.folder, job.out):
        if not folder.is_dir():
            raise RunError(f"machine {platform.node()} cannot access {folder}; use storage shared by all machines")
    os.chdir(job.folder)
    dataset = open_configured_dataset(job.config)
    if dataset.file_size_hash() != job.file_size_hash:
        raise DataError(
            f"machine {platform.node()} finds other files in {dataset.root} than the study was checked with; "
            "mount the same storage on all machines, and change no file while a study is running"
        )
    return dataset.with_manifest(job.manifest)
