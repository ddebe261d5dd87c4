"""BIDS: images of sub-01[/ses-1]/anat/, masks (..._dseg) beside them or under derivatives/; a subject is a patient.

Gorgolewski et al., 2016, https://doi.org/10.1038/sdata.2016.44; names of files: https://bids-specification.readthedocs.io
"""

import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from dimlift.data.case import Case, Dataset, Task
from dimlift.data.datasets.image_label_folders import label_values
from dimlift.data.io.readers import stem_of, volumes_in
from dimlift.data.issue import Finding
from dimlift.errors import DataError

FILE = "dataset_description.json"
WANTED = "BIDS (dataset_description.json, sub-01/anat/..._T1w.nii.gz, derivatives/NAME/sub-01/anat/..._dseg.nii.gz)"

_MASK = "dseg"
_NO_IMAGES = {_MASK, "mask", "probseg"}
_Visit = tuple[str, str]


def matches(path: Path) -> bool:
    """A dataset_description.json, and the folder of a subject beside it."""
    return (path / FILE).is_file() and any(path.glob("sub-*/"))


def read(path: Path, task: Task) -> Dataset:
    """One case for each subject and session that has a mask; its channels are the suffixes every case has (T1w, FLAIR).

    Raises:
        DataError: where a visit has two images of one suffix, or two masks: a CSV table can say which is meant.
    """
    masks = _by_visit(file for file in _volumes(path, "**/") if _suffix(file) == _MASK)
    found = _by_visit(file for file in _volumes(path, "") if _suffix(file) not in _NO_IMAGES)
    images = {visit: {_suffix(file): file for file in _once(files)} for visit, files in found.items()}
    visits = sorted(masks.keys() & images.keys())
    channels = sorted(set.intersection(*(set(images[visit]) for visit in visits))) if visits else []
    if not channels:
        found_words = f"has {len(masks)} visits with a mask (_dseg) and {len(images)} with images, but none with both"
        remedy = "name masks like their images (same sub- and ses-), or write a CSV table"
        raise Finding(str(path), "error", found_words, remedy).as_error()
    cases = []
    for visit in visits:
        (mask,) = _once(masks[visit], by_suffix=False)
        files = tuple(images[visit][channel] for channel in channels)
        cases.append(Case("_".join(filter(None, visit)), files, mask, group=visit[0]))
    labels = _names([case.label for case in cases if isinstance(case.label, Path)], path)
    unmatched = tuple(file for visit in sorted(masks.keys() - images.keys()) for file in masks[visit])
    return Dataset(path.resolve().name, path, tuple(cases), tuple(channels), labels, task, None, (), unmatched)


def _volumes(root: Path, below: str) -> Iterator[Path]:
    """The volumes in the folders of subjects, at the root or anywhere below."""
    folders = {folder for pattern in ("sub-*/*/", "sub-*/ses-*/*/") for folder in root.glob(below + pattern)}
    for folder in sorted(folders):
        yield from (file for file in volumes_in(folder) if file.is_file() and file.name.startswith("sub-"))


def _by_visit(files: Iterator[Path]) -> dict[_Visit, list[Path]]:
    visits: dict[_Visit, list[Path]] = defaultdict(list)
    for file in files:
        parts = {part.split("-")[0]: part for part in stem_of(file).split("_") if "-" in part}
        visits[parts["sub"], parts.get("ses", "")].append(file)
    return visits


def _once(files: list[Path], by_suffix: bool = True) -> list[Path]:
    """The files of a visit. Raises: DataError if two could be meant."""
    seen: dict[str, Path] = {}
    for file in files:
        other = seen.setdefault(_suffix(file) if by_suffix else "", file)
        if other is not file:
            found = f"is of the same visit and kind as {other}"
            raise _unclear(file, found)
    return files


def _unclear(file: Path, found: str) -> DataError:
    return Finding(str(file), "error", found, "write a CSV table that says which one is meant").as_error()


def _suffix(file: Path) -> str:
    return stem_of(file).rpartition("_")[2]


def _names(masks: list[Path], root: Path) -> dict[str, int]:
    """Names from the tables beside the masks (columns index and name), or above; else each number is its name."""
    tables = [masks[0].with_name(f"{stem_of(masks[0])}.tsv")] if masks else []
    tables += [folder / "dseg.tsv" for folder in (masks[0].parents if masks else ()) if folder.is_relative_to(root)]
    for table in tables:
        if table.is_file():
            with table.open(newline="", encoding="utf-8-sig") as stream:
                rows = list(csv.DictReader(stream, delimiter="\t"))
            try:
                return {row["name"]: int(row["index"]) for row in rows if int(row["index"]) != 0}
            except (KeyError, TypeError, ValueError) as fault:
                raise Finding(str(table), "error", "has no columns index and name", "correct it").as_error() from fault
    return {str(value): value for value in label_values(masks)}
