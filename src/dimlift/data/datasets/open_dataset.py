"""Open a dataset, in whatever layout it lies. A new layout is one module in `layouts/` and one line here."""

from pathlib import Path
from typing import Protocol, get_args

from dimlift.data.case import Case, Dataset, Task
from dimlift.data.datasets import bids, class_folders, csv_table, decathlon, image_label_folders, nnunet
from dimlift.data.datasets.point_cloud_index import holds_clouds
from dimlift.data.io.archives import is_archive, unpacked
from dimlift.data.issue import Finding
from dimlift.errors import UnknownName

__all__ = ["LAYOUTS", "Case", "Dataset", "Layout", "Task", "open_dataset"]


class Layout(Protocol):
    """What a module in `layouts/` offers."""

    WANTED: str
    """The layout in a few words, for the message when nothing fits."""

    def matches(self, path: Path) -> bool:
        """Whether a folder or file is laid out like this."""

    def read(self, path: Path, task: Task) -> Dataset:
        """The dataset. Raises: DataError if it is laid out like this but cannot be understood."""


LAYOUTS: dict[str, Layout] = {
    "csv": csv_table, "nnunet": nnunet, "decathlon": decathlon, "bids": bids, "folders": image_label_folders, "classes": class_folders
}  # fmt: skip
"""In the order they are tried."""


def open_dataset(path: str | Path, layout: str = "auto", task: Task = "segmentation") -> Dataset:
    """Find the cases of a dataset; no image is read.

    Args:
        path: a folder, a CSV table, or a tar or zip file of a folder, which is unpacked beside itself.
        layout: one of `LAYOUTS`, or "auto" to try them in turn.
        task: what the labels are. A CSV table decides it itself: masks or classes; "regression" must be said.

    Raises:
        DataError: if there is nothing there, or it lies in no known layout.
    """
    path = Path(path)
    if layout != "auto" and layout not in LAYOUTS:
        raise UnknownName("layout", layout, ["auto", *LAYOUTS])
    if task not in get_args(Task):
        raise UnknownName("task", task, get_args(Task))
    if not path.exists():
        raise Finding(str(path), "error", "there is no such folder or file", "check the path").as_error()
    if is_archive(path):
        path = unpacked(path)
    wanted = "one of: " + "; ".join(known.WANTED for known in LAYOUTS.values())
    if path.is_dir() and not any(path.iterdir()):
        raise Finding(str(path), "error", "is an empty folder", f"put a dataset there, {wanted}").as_error()
    chosen = [LAYOUTS[layout]] if layout != "auto" else [known for known in LAYOUTS.values() if known.matches(path)]
    if not chosen and holds_clouds(path):
        remedy = "give them to `dimlift train`, `check` or `probe`, or as clouds.path in place of dataset.path"
        raise Finding(str(path), "error", "holds clouds of points, and volumes are wanted", remedy).as_error()
    if not chosen:
        raise Finding(str(path), "error", "lies in no known layout", f"arrange it as {wanted}").as_error()
    dataset = chosen[0].read(path, task)
    if not dataset.cases and not dataset.test_cases:
        raise Finding(str(path), "error", "holds no image", f"arrange it as {chosen[0].WANTED}").as_error()
    return dataset
