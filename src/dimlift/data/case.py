"""Datasets: cases, each with its image files, label and patient."""

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

TaskType = Literal["segmentation", "classification", "regression"]
DataModality = Literal["volumes", "point_clouds"]

DETACHED_HEADERS = (".mhd", ".nhdr")
"""Suffixes of headers whose voxels are in another file, which has the same name before its suffix."""


@dataclass(frozen=True)
class Case:
    """One volume or point cloud and its label.

    Attributes:
        name: unique within the dataset.
        images: one file per channel, or one file with the channels on its last axis.
        label: a mask file (segmentation), a class (int), a number (float), or None for unlabelled cases.
        group: patient id. Splits keep all cases of a group on the same side.
        columns: names of the columns of a point cloud whose file does not name them.
    """

    name: str
    images: tuple[Path, ...]
    label: Path | int | float | None
    group: str
    columns: tuple[str, ...] = ()


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
        layout: name of the layout it was read as, or "".
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
    layout: str = ""

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

    def with_layout(self, layout: str) -> "Dataset":
        """Return the same dataset with the name of its layout; a manifest hash that is known is kept."""
        named = replace(self, layout=layout)
        return named.with_manifest(self._manifest) if "_manifest" in self.__dict__ else named

    def file_size_hash(self) -> str:
        """Return SHA-256 of all cases and file sizes, without opening a file."""
        digest = hashlib.sha256()
        for case in (*self.cases, *self.test_cases):
            files = [*case.images, *([case.label] if isinstance(case.label, Path) else [])]
            sizes = [
                sum(part.stat().st_size for part in stored_files(file)) if file.is_file() else -1 for file in files
            ]
            label = None if isinstance(case.label, Path) else case.label
            digest.update(repr((case.name, case.group, sizes, label)).encode())
        return digest.hexdigest()

    @cached_property
    def content_hashes(self) -> dict[str, str]:
        """SHA-256 of every file by its name, and of what a table states about each case, to name what has changed."""
        found: dict[str, str] = {}
        for case in (*self.cases, *self.test_cases):
            in_file = isinstance(case.label, Path)
            stated = repr((case.group, None if in_file else case.label)).encode()
            found[f"group or label of {case.name}"] = hashlib.sha256(stated).hexdigest()
            for file in (*case.images, *([case.label] if isinstance(case.label, Path) else [])):
                found[self.relative(file)] = _content_hash(file)
        return found

    @cached_property
    def _manifest(self) -> str:
        digest = hashlib.sha256()
        for part, cases in (("train", self.cases), ("test", self.test_cases)):
            for case in cases:
                label = (
                    self.content_hashes[self.relative(case.label)] if isinstance(case.label, Path) else repr(case.label)
                )
                images = [self.content_hashes[self.relative(image)] for image in case.images]
                digest.update(repr((part, case.name, case.group, images, label)).encode())
        digest.update(repr((self.task, self.channels, sorted(self.labels.items()), self.ignore)).encode())
        return digest.hexdigest()


def stored_files(path: Path) -> list[Path]:
    """Return the files of a volume, sorted: those of a series folder; of a detached header, also its files of voxels.

    Folders in a series folder are no part of it; a link among them could lead back to it.
    """
    if path.is_dir():
        return sorted(file for file in path.iterdir() if not file.name.startswith(".") and not file.is_dir())
    if path.suffix.lower() in DETACHED_HEADERS and path.is_file():
        header = path.resolve()  # of a link, the voxels lie beside its target
        return sorted(file for file in header.parent.iterdir() if file.name.startswith(f"{header.stem}."))
    return [path]


def _content_hash(path: Path) -> str:
    """Return SHA-256 of a file, or of the files of a volume regardless of their names."""
    files = stored_files(path)
    if path.is_dir() or len(files) > 1:
        inside = sorted(_file_hash(file) for file in files)
        return hashlib.sha256(repr(inside).encode()).hexdigest()
    return _file_hash(path)


def _file_hash(path: Path) -> str:
    if not path.is_file():
        return "missing"
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
