"""BIDS: images in sub-01[/ses-1]/anat/, masks (..._dseg) next to them or under derivatives/; subjects are groups.

Gorgolewski et al., 2016, https://doi.org/10.1038/sdata.2016.44; file names: https://bids-specification.readthedocs.io
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from dimlift.data.case import Case, Dataset, TaskType
from dimlift.data.datasets.csv_rows import read_table_rows
from dimlift.data.datasets.dataset_json import find_label_values
from dimlift.data.datasets.layout import Layout
from dimlift.data.io.readers import list_volumes, volume_stem
from dimlift.data.issue import Issue

_FILE = "dataset_description.json"
_MASK = "dseg"
_NOT_IMAGES = {_MASK, "mask", "probseg"}
_Visit = tuple[str, str]


def _matches(path: Path) -> bool:
    """Require a dataset_description.json and the folder of a subject next to it."""
    return (path / _FILE).is_file() and any(path.glob("sub-*/"))


def _read(path: Path, task: TaskType | None) -> Dataset:
    """Return one case per subject and session with a mask; channels are the suffixes all cases have (T1w, FLAIR).

    Raises:
        DataError: if a visit has two images with the same suffix, or two masks; a CSV table can resolve that.
    """
    masks = _by_visit(file for file in _volumes(path, "**/") if _suffix(file) == _MASK)
    image_files = _by_visit(file for file in _volumes(path, "") if _suffix(file) not in _NOT_IMAGES)
    images = {visit: {_suffix(file): file for file in _require_unique(files)} for visit, files in image_files.items()}
    visits = sorted(masks.keys() & images.keys())
    channels = sorted(set.intersection(*(set(images[visit]) for visit in visits))) if visits else []
    if not channels:
        message = f"has {len(masks)} visits with a mask (_dseg) and {len(images)} with images, but none with both"
        fix = "name masks like their images (same sub- and ses-), or write a CSV table"
        raise Issue(str(path), "error", message, fix).as_error()
    cases = []
    for visit in visits:
        (mask,) = _require_unique(masks[visit], by_suffix=False)
        files = tuple(images[visit][channel] for channel in channels)
        cases.append(Case("_".join(filter(None, visit)), files, mask, group=visit[0]))
    labels = _label_names([case.label for case in cases if isinstance(case.label, Path)], path)
    unmatched = tuple(file for visit in sorted(masks.keys() - images.keys()) for file in masks[visit])
    return Dataset(
        path.resolve().name, path, tuple(cases), tuple(channels), labels, "segmentation", None, (), unmatched
    )


def _volumes(root: Path, prefix: str) -> Iterator[Path]:
    """Yield the volumes in subject folders, directly in the root or below it."""
    folders = {folder for pattern in ("sub-*/*/", "sub-*/ses-*/*/") for folder in root.glob(prefix + pattern)}
    for folder in sorted(folders):
        yield from (file for file in list_volumes(folder) if file.is_file() and file.name.startswith("sub-"))


def _by_visit(files: Iterator[Path]) -> dict[_Visit, list[Path]]:
    visits: dict[_Visit, list[Path]] = defaultdict(list)
    for file in files:
        entities = {part.split("-")[0]: part for part in volume_stem(file).split("_") if "-" in part}
        visits[entities["sub"], entities.get("ses", "")].append(file)
    return visits


def _require_unique(files: list[Path], by_suffix: bool = True) -> list[Path]:
    """Return the files of a visit; raise DataError if two have the same role."""
    by_role: dict[str, Path] = {}
    for file in files:
        other = by_role.setdefault(_suffix(file) if by_suffix else "", file)
        if other is not file:
            message = f"is of the same visit and kind as {other}"
            raise Issue(str(file), "error", message, "write a CSV table that lists the right one").as_error()
    return files


def _suffix(file: Path) -> str:
    return volume_stem(file).rpartition("_")[2]


def _label_names(masks: list[Path], root: Path) -> dict[str, int]:
    """Return label names from a table (columns index and name) next to the masks or above; else the values as names."""
    tables = [masks[0].with_name(f"{volume_stem(masks[0])}.tsv")] if masks else []
    tables += [folder / "dseg.tsv" for folder in (masks[0].parents if masks else ()) if folder.is_relative_to(root)]
    for table in tables:
        if table.is_file():
            rows, _ = read_table_rows(table)
            try:
                return {row["name"]: int(row["index"]) for row in rows if int(row["index"]) != 0}
            except (KeyError, TypeError, ValueError) as fault:
                raise Issue(str(table), "error", "has no columns index and name", "correct it").as_error() from fault
    return {str(value): value for value in find_label_values(masks)}


BIDS = Layout(
    "bids",
    "BIDS (dataset_description.json, sub-01/anat/..._T1w.nii.gz, derivatives/NAME/sub-01/anat/..._dseg.nii.gz)",
    _matches,
    _read,
    evidence="dataset_description.json and folders sub-...",
)
