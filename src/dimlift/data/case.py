"""Datasets: cases, each with its image files, label and patient."""

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

TaskType = Literal["segmentation", "classification", "regression"]
DataModality = Literal["volumes", "point_clouds"]


@dataclass(frozen=True)
class Case:
    """One volume or point cloud and its label.

    Attributes:
        name: unique within the dataset.
        images: one file per channel, or one file with the channels on its last axis.
        label: a mask file (segmentation), a class (int), a number (float), or None for unlabelled cases.
        group: patient id. Splits keep all cases of a group on the same side.
    """

    name: str
    images: tuple[Path, ...]
    label: Path | int | float | None
    group: str


@dataclass(frozen=True)
class Dataset:
    """The cases of a folder, table or archive.

    Attributes:
        root: folder that file names are displayed and hashed relative to.
        cases: cases for training and cross-validation.
        channels: name of each input channel ("CT", "T1").
        labels: name to value in the files. Segmentation of volumes: without background, which is 0. Classification:
            one entry per class. Regression: empty.
        ignore: value of voxels or points without annotation, if the dataset has one.
        test_cases: cases that are never trained on.
        unmatched: files among the images or labels that belong to no case.
        skipped: one message per case that could not be read and was left out.
        modality: "volumes" or "point_clouds".
    """

    name: str
    root: Path
    cases: tuple[Case, ...]
    channels: tuple[str, ...]
    labels: dict[str, int]
    task: TaskType = "segmentation"
    ignore: int | None = None
    test_cases: tuple[Case, ...] = ()
    unmatched: tuple[Path, ...] = field(default=(), repr=False)
    skipped: tuple[str, ...] = ()
    modality: DataModality = "volumes"

    def relative(self, path: Path) -> str:
        """Return a path for display: relative to the root if it is inside."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    def manifest_hash(self) -> str:
        """Return SHA-256 of all cases, groups and file contents; independent of where the folder is."""
        return self._manifest

    def with_manifest(self, manifest: str) -> "Dataset":
        """Return the same dataset with a manifest hash that was computed before, so that no file is read for it."""
        known = replace(self)
        known.__dict__["_manifest"] = manifest
        return known

    def file_size_hash(self) -> str:
        """Return SHA-256 of all cases and file sizes, without opening a file."""
        digest = hashlib.sha256()
        for case in (*self.cases, *self.test_cases):
            files = [*case.images, *([case.label] if isinstance(case.label, Path) else [])]
            sizes = [file.stat().st_size if file.is_file() else -1 for file in files]
            label = None if isinstance(case.label, Path) else case.label
            digest.update(repr((case.name, case.group, sizes, label)).encode())
        return digest.hexdigest()

    @cached_property
    def _manifest(self) -> str:
        digest = hashlib.sha256()
        for part, cases in (("train", self.cases), ("test", self.test_cases)):
            for case in cases:
                label = _content_hash(case.label) if isinstance(case.label, Path) else repr(case.label)
                images = [_content_hash(image) for image in case.images]
                digest.update(repr((part, case.name, case.group, images, label)).encode())
        digest.update(repr((self.task, self.channels, sorted(self.labels.items()), self.ignore)).encode())
        return digest.hexdigest()


def _content_hash(path: Path) -> str:
    """Return SHA-256 of a file, or of the files in a series folder regardless of their names."""
    if path.is_dir():
        inside = sorted(_content_hash(file) for file in path.iterdir() if not file.name.startswith("."))
        return hashlib.sha256(repr(inside).encode()).hexdigest()
    if not path.is_file():
        return "missing"
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
