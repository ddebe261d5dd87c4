"""What a dataset is: cases, each of some image files, one label and the patient it belongs to."""

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

Task = Literal["segmentation", "classification", "regression"]


@dataclass(frozen=True)
class Case:
    """One volume and its answer.

    Attributes:
        images: one file per channel, or one file with the channels on its last axis.
        label: a mask file (segmentation), a class (int), a number (float), or None where nobody knows.
        group: the patient. All cases of a group stay on the same side of every split.
    """

    name: str
    images: tuple[Path, ...]
    label: Path | int | float | None
    group: str


@dataclass(frozen=True)
class Dataset:
    """The cases of a folder or table.

    Attributes:
        root: the folder that file names are shown and hashed relative to.
        channels: what each input channel shows ("CT", "T1").
        labels: name to the value it has in the files. Segmentation: without background, which is 0. Classification:
            one entry per class. Regression: empty.
        ignore: value of voxels nobody annotated, if the dataset has one.
        test_cases: cases that are never trained on.
        unmatched: files that lie among the images or labels and belong to no case.
        left_out: one sentence for each case that could not be read and was to be left out.
    """

    name: str
    root: Path
    cases: tuple[Case, ...]
    channels: tuple[str, ...]
    labels: dict[str, int]
    task: Task = "segmentation"
    ignore: int | None = None
    test_cases: tuple[Case, ...] = ()
    unmatched: tuple[Path, ...] = field(default=(), repr=False)
    left_out: tuple[str, ...] = ()

    def relative(self, path: Path) -> str:
        """A file's name as shown to people: relative to the root where it lies inside."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    def manifest_hash(self) -> str:
        """SHA-256 over every case, its group, and the content of its files; the same wherever the folder lies."""
        return self._manifest

    def known_as(self, manifest: str) -> "Dataset":
        """The same data set with the manifest hash somebody else has read already, from the same files."""
        known = replace(self)
        known.__dict__["_manifest"] = manifest
        return known

    def outline(self) -> str:
        """SHA-256 over the cases and the sizes of their files; no file is opened."""
        digest = hashlib.sha256()
        for case in (*self.cases, *self.test_cases):
            files = [*case.images, *([case.label] if isinstance(case.label, Path) else [])]
            sizes = [file.stat().st_size if file.is_file() else -1 for file in files]
            answer = None if isinstance(case.label, Path) else case.label
            digest.update(repr((case.name, case.group, sizes, answer)).encode())
        return digest.hexdigest()

    @cached_property
    def _manifest(self) -> str:
        digest = hashlib.sha256()
        for part, cases in (("train", self.cases), ("test", self.test_cases)):
            for case in cases:
                answer = _content(case.label) if isinstance(case.label, Path) else repr(case.label)
                images = [_content(image) for image in case.images]
                digest.update(repr((part, case.name, case.group, images, answer)).encode())
        digest.update(repr((self.task, self.channels, sorted(self.labels.items()), self.ignore)).encode())
        return digest.hexdigest()


def _content(path: Path) -> str:
    """SHA-256 of a file, or of the files of a series whatever they are called."""
    if path.is_dir():
        inside = sorted(_content(file) for file in path.iterdir() if not file.name.startswith("."))
        return hashlib.sha256(repr(inside).encode()).hexdigest()
    if not path.is_file():
        return "missing"
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
