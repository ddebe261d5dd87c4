"""The point clouds to predict among files and folders of files."""

from collections.abc import Sequence
from pathlib import Path

from dimlift.data.case import Case
from dimlift.data.datasets.point_clouds import case_name
from dimlift.data.io.point_cloud import POINT_CLOUD_READERS
from dimlift.data.issue import Issue
from dimlift.errors import DataError, UnknownNameError


def find_point_clouds(inputs: Sequence[Path | str]) -> list[Case]:
    """Return cases without label, in the order of the inputs.

    Args:
        inputs: files, and folders whose files are taken.

    Raises:
        DataError: if nothing is there, or two files have one name.
        UnknownNameError: for a file that is no point cloud.
    """
    found: dict[str, Path] = {}
    for path in map(Path, inputs):
        if not path.exists():
            raise Issue(str(path), "error", "there is no such file or folder", "check the path").as_error()
        if path.is_file() and path.suffix.lower() not in POINT_CLOUD_READERS:
            raise UnknownNameError("kind of point cloud", path.suffix, POINT_CLOUD_READERS)
        files = (
            sorted(f for f in path.iterdir() if f.suffix.lower() in POINT_CLOUD_READERS) if path.is_dir() else [path]
        )
        if not files:
            fix = f"give a folder of {', '.join(POINT_CLOUD_READERS)}"
            raise Issue(str(path), "error", "holds no point cloud", fix).as_error()
        for file in files:
            if (other := found.setdefault(case_name(file.name), file)) != file:
                fix = "predict them in two calls with different outputs, or rename one"
                raise Issue(str(file), "error", f"has the name of {other}", fix).as_error()
    if not found:
        raise DataError("no input given; name point clouds or folders of point clouds")
    return [Case(name, (file,), None, name) for name, file in found.items()]
