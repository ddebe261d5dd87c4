"""A cell as it travels to another process or machine: plain JSON, understood wherever dimlift is installed."""

import json
import os
import platform
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dimlift.config.sections import ResourcesSection
from dimlift.data.case import Dataset
from dimlift.errors import DataError, DimliftError, RunError, Stopped
from dimlift.studies.attempt import attempt
from dimlift.studies.modality.dispatch import domain_of
from dimlift.studies.run_config import TrainConfig
from dimlift.training.signals import heeded

STOPPED = "stopped"
DONE = ""


@dataclass(frozen=True)
class Task:
    """One cell to run.

    Attributes:
        cell: its name, a hash of configuration, data, fold and seed.
        manifest: hash of the data set's files; read once, by whoever hands out the cells.
        outline: hash of their names and sizes; read again by whoever runs one.
        folder: the paths of the configuration are relative to it.
        out: folder of the study.
    """

    cell: str
    config: TrainConfig
    manifest: str
    outline: str
    folder: Path
    out: Path

    def to_json(self) -> str:
        """One line."""
        return json.dumps(
            {
                "cell": self.cell,
                "config": self.config.model_dump(mode="json"),
                "manifest": self.manifest,
                "outline": self.outline,
                "folder": str(self.folder),
                "out": str(self.out),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "Task":
        """What `to_json` gave, read back."""
        fields = json.loads(text)
        config = TrainConfig.model_validate(fields.pop("config"))
        folder, out = Path(fields.pop("folder")), Path(fields.pop("out"))
        return cls(config=config, folder=folder, out=out, **fields)


class Machines(Protocol):
    """Something that runs cells."""

    def __call__(self, tasks: list[Task], resources: ResourcesSection) -> Generator[tuple[Task, str], None, None]:
        """Run every cell, and give each with an empty string once its record is written, or with what ended it.

        Closing the iterator stops what still runs.

        Raises:
            RunError: if there is nobody to run them; cells that are finished stay finished.
        """


def tasks_of(cells: list[TrainConfig], dataset: Dataset, out: Path) -> list[Task]:
    """The cells of a study, ready to travel."""
    manifest, outline = dataset.manifest_hash(), dataset.outline()
    return [Task(c.cell(manifest), c, manifest, outline, Path.cwd(), out.resolve()) for c in cells]


def work(text: str) -> str:
    """Run one cell in this process, from the JSON of its task.

    Returns:
        an empty string once its record is written (which may say that it failed); "stopped"; or what kept this
        machine from running it at all.
    """
    task = Task.from_json(text)
    try:
        with heeded():
            attempt(task.config, _dataset(task), task.out)
    except Stopped:
        return STOPPED
    except DimliftError as fault:
        return str(fault)
    return DONE


def _dataset(task: Task) -> Dataset:
    """The data set as this machine sees it.

    Raises:
        RunError, DataError: if it does not see the study's folders, or sees other files in them.
    """
    for folder in (task.folder, task.out):
        if not folder.is_dir():
            raise RunError(f"machine {platform.node()} does not see {folder}; put it where all machines see it")
    os.chdir(task.folder)
    dataset = domain_of(task.config).open_data(task.config)
    if dataset.outline() != task.outline:
        raise DataError(
            f"machine {platform.node()} sees other files in {dataset.root} than the study was checked with; "
            "mount the same storage on all machines, and change no file while a study runs"
        )
    return dataset.known_as(task.manifest)
