"""Open a dataset in any known layout."""

from pathlib import Path
from typing import get_args

from dimlift.data.case import Dataset, TaskType
from dimlift.data.datasets.bids import BIDS
from dimlift.data.datasets.class_folders import CLASS_FOLDERS
from dimlift.data.datasets.csv_table import CSV_TABLE
from dimlift.data.datasets.decathlon import DECATHLON
from dimlift.data.datasets.image_label_folders import IMAGE_LABEL_FOLDERS
from dimlift.data.datasets.layout import Layout
from dimlift.data.datasets.nnunet import NNUNET
from dimlift.data.datasets.point_clouds import POINT_CLOUDS
from dimlift.data.io.archives import is_archive, unpacked_folder
from dimlift.data.issue import Issue
from dimlift.errors import DataError, UnknownNameError

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (POINT_CLOUDS, CSV_TABLE, NNUNET, DECATHLON, BIDS, IMAGE_LABEL_FOLDERS, CLASS_FOLDERS)
}
"""In the order in which they are tried. Point clouds come first because they match only where there is no volume."""


def open_dataset(
    path: str | Path, layout: str = "auto", task: TaskType | None = None, skip_corrupt: bool = False
) -> Dataset:
    """List the cases of a dataset. No volume is read; point clouds are read where their labels require it.

    Args:
        path: a folder, a CSV table, an archive (tar or zip) of a folder, which is extracted next to itself, or a file
            of many point clouds.
        layout: key of `LAYOUTS`, or "auto" to use the first one that matches.
        task: what the labels are. None: segmentation for volumes; inferred from the first labels for point clouds. A
            CSV table of volumes determines it (masks or classes), except for "regression".
        skip_corrupt: leave out point clouds that cannot be read and list them in `Dataset.skipped`.

    Raises:
        DataError: if nothing exists at the path, or no layout matches.
        UnknownNameError: if there is no such layout or task.
    """
    path = Path(path)
    if layout != "auto" and layout not in LAYOUTS:
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
    chosen = LAYOUTS.get(layout) or next((known for known in LAYOUTS.values() if known.matches(path)), None)
    if chosen is None:
        raise Issue(str(path), "error", "has no known layout", f"arrange it as {expected}").as_error()
    if chosen.modality == "point_clouds":
        return chosen.read(path, task, skip_corrupt)
    if skip_corrupt:
        raise DataError(f"{path}: skip_corrupt applies to point clouds only; run `dimlift check` on volumes")
    dataset = chosen.read(path, task or "segmentation")
    if not dataset.cases and not dataset.test_cases:
        raise Issue(str(path), "error", "holds no image", f"arrange it as {chosen.description}").as_error()
    return dataset
