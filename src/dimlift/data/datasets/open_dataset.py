"""Open a dataset in any known layout."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from dimlift.data.case import Case, Dataset, TaskType
from dimlift.data.datasets.bids import BIDS
from dimlift.data.datasets.class_folders import CLASS_FOLDERS
from dimlift.data.datasets.csv_table import CSV_TABLE
from dimlift.data.datasets.decathlon import DECATHLON, NNUNET_FILE_LIST
from dimlift.data.datasets.image_label_folders import IMAGE_LABEL_FOLDERS
from dimlift.data.datasets.layout import Layout
from dimlift.data.datasets.nnunet import NNUNET
from dimlift.data.datasets.patient_folders import PATIENT_FOLDERS
from dimlift.data.datasets.pattern_layout import PATTERNS, LayoutPatterns, read_patterns
from dimlift.data.datasets.point_clouds import POINT_CLOUDS
from dimlift.data.datasets.unknown_layout import unknown_layout_issue
from dimlift.data.io.archives import is_archive, unpacked_folder
from dimlift.data.issue import Issue
from dimlift.errors import DataError, UnknownNameError

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        POINT_CLOUDS,
        CSV_TABLE,
        NNUNET_FILE_LIST,
        NNUNET,
        DECATHLON,
        BIDS,
        IMAGE_LABEL_FOLDERS,
        PATIENT_FOLDERS,
        CLASS_FOLDERS,
    )
}
"""In the order in which they are tried. Point clouds come first because they match only where there is no volume."""


def open_dataset(
    path: str | Path,
    layout: str | Mapping[str, Any] = "auto",
    task: TaskType | None = None,
    skip_corrupt: bool = False,
    columns: Sequence[str] = (),
) -> Dataset:
    """List the cases of a dataset.

    Masks are read for their label values where nothing names them; point clouds are read where their labels require it.

    Args:
        path: a folder, a CSV table, a JSON list, an archive (tar or zip) of a folder, which is extracted next to
            itself, or a file of many point clouds.
        layout: key of `LAYOUTS`; patterns of paths, {"image": ..., "label": ...}; or "auto" for the layout that the
            files identify.
        task: what the labels are, where the files leave it open (classes or numbers in a table; classes per point or
            per point cloud). None infers it. Masks are always a segmentation, folders of classes a classification.
        skip_corrupt: leave out point clouds that cannot be read and list them in `Dataset.skipped`.
        columns: names of the columns of point clouds whose files do not name them.

    Raises:
        ConfigError: if the patterns cannot be used.
        DataError: if nothing exists at the path, no layout matches, or two match that list other cases.
        UnknownNameError: if there is no such layout or task.
    """
    path = Path(path)
    patterns = None if isinstance(layout, str) else LayoutPatterns.from_mapping(layout)
    if isinstance(layout, str) and layout != "auto" and layout not in LAYOUTS:
        raise UnknownNameError("layout", layout, ["auto", *LAYOUTS])
    if task is not None and task not in get_args(TaskType):
        raise UnknownNameError("task", task, get_args(TaskType))
    if not path.exists():
        raise Issue(str(path), "error", "does not exist", "check the path").as_error()
    if is_archive(path):
        path = unpacked_folder(path)
    expected = "one of: " + "; ".join(known.description for known in LAYOUTS.values())
    if path.is_dir() and not any(path.iterdir()):
        raise Issue(str(path), "error", "is an empty folder", f"put a dataset there, {expected}").as_error()
    if patterns is not None:
        _require_point_clouds(path, skip_corrupt)
        return read_patterns(path, patterns, task).with_layout(PATTERNS)
    chosen = [LAYOUTS[str(layout)]] if layout != "auto" else _matching(path)
    if not chosen:
        raise unknown_layout_issue(path, expected).as_error()
    first = chosen[0]
    if first.modality == "point_clouds":
        opened: Dataset = first.read(path, task, skip_corrupt, columns)
        return opened.with_layout(first.name)
    _require_point_clouds(path, skip_corrupt)
    dataset: Dataset = first.read(path, task)
    if not dataset.cases and not dataset.test_cases:
        raise Issue(str(path), "error", "holds no image", f"arrange it as {first.description}").as_error()
    for other in chosen[1:]:
        _require_agreement(path, first, dataset, other)
    return dataset.with_layout(first.name)


def _matching(path: Path) -> list[Layout]:
    """Return the first layout that matches, and those that must agree with it."""
    known = iter(LAYOUTS.values())
    first = next((layout for layout in known if layout.matches(path)), None)
    if first is None:
        return []
    others = [layout for layout in known if layout.compared and layout.matches(path)] if first.compared else []
    return [first, *others]


def _require_agreement(path: Path, first: Layout, dataset: Dataset, other: Layout) -> None:
    """Raise if another layout combines files into cases that the first does not list; fewer cases are no conflict."""
    try:
        found: Dataset = other.read(path, None)
    except DataError:
        return
    listed = {_files(case) for case in (*dataset.cases, *dataset.test_cases)}
    possible = {_files(case) for case in (*found.cases, *found.test_cases)}
    if not listed <= possible:
        message = (
            f"has two layouts with different cases: {first.evidence} ({first.name}, {len(listed)} cases), and "
            f"{other.evidence} ({other.name}, {len(possible)} cases)"
        )
        fix = f"choose one (layout: {first.name}, or layout: {other.name}), or remove the other"
        raise Issue(str(path), "error", message, fix).as_error()


def _files(case: Case) -> frozenset[Path]:
    files = [*case.images, *([case.label] if isinstance(case.label, Path) else [])]
    return frozenset(file.resolve() for file in files)


def _require_point_clouds(path: Path, skip_corrupt: bool) -> None:
    if skip_corrupt:
        raise DataError(f"{path}: skip_corrupt applies to point clouds only; run `dimlift check` on volumes")
