"""The interface of dataset layouts. A new layout is one module with one `Layout`, and one entry of `LAYOUTS`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dimlift.data.case import DataModality, Dataset


@dataclass(frozen=True)
class Layout:
    """One arrangement of files.

    Attributes:
        name: value of the option `layout`.
        description: the arrangement with an example, for error messages.
        evidence: what identifies it, for messages.
        matches: called with a path; returns whether a folder or file has this layout.
        read: called with a path and a task type or None (and `skip_corrupt` and `columns` for point clouds); returns
            the dataset, or raises DataError if files are missing or ambiguous.
        modality: kind of data.
        compared: whether a second layout may match the same folder; both must then list the same cases.
    """

    name: str
    description: str
    matches: Callable[[Path], bool]
    read: Callable[..., Dataset]
    modality: DataModality = "volumes"
    evidence: str = ""
    compared: bool = False
