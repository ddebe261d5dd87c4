"""What the files of a dataset were read as: the role and channel of each, with an example."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dimlift.data.case import Case, Dataset


@dataclass(frozen=True)
class RoleRow:
    """Files with one role.

    Attributes:
        role: "image", "mask", "test image", "point cloud" or "unused".
        channel: channel of the images, or "".
        count: number of files.
        example: the first file, relative to the dataset.
        case: case of the first file.
        patient: patient of the first file.
        label: class or number of the first file, or "".
    """

    role: str
    channel: str
    count: int
    example: str
    case: str = ""
    patient: str = ""
    label: str = ""


def summarise_roles(dataset: Dataset, faulty: Collection[Path] = ()) -> list[RoleRow]:
    """Return one row per role and channel.

    Args:
        faulty: files with errors; the example is the first case that has one, else the first of all.
    """
    kind = "point cloud" if dataset.modality == "point_clouds" else "image"
    return [
        *_image_rows(dataset, dataset.cases, kind, faulty),
        *_mask_rows(dataset, faulty),
        *_image_rows(dataset, dataset.test_cases, "test image", faulty),
        *_unused_rows(dataset),
    ]


def _example(cases: Sequence[Case], faulty: Collection[Path]) -> Case:
    return next((case for case in cases if {*case.images, case.label} & {*faulty}), cases[0])


def _image_rows(dataset: Dataset, cases: tuple[Case, ...], role: str, faulty: Collection[Path]) -> Iterator[RoleRow]:
    if not cases:
        return
    first = _example(cases, faulty)
    channels = dataset.channels if len(first.images) == len(dataset.channels) else (", ".join(dataset.channels),)
    for index, channel in enumerate(channels if dataset.modality == "volumes" else ("",)):
        count = sum(index < len(case.images) for case in cases)
        example = dataset.relative(first.images[index])
        yield RoleRow(role, channel, count, example, first.name, first.group, _class_of(dataset, first))


def _mask_rows(dataset: Dataset, faulty: Collection[Path]) -> Iterator[RoleRow]:
    masks = [case for case in dataset.cases if isinstance(case.label, Path)]
    if masks and dataset.modality == "volumes":
        first = _example(masks, faulty)
        example = dataset.relative(Path(str(first.label)))
        yield RoleRow("mask", "", len(masks), example, first.name, first.group)


def _unused_rows(dataset: Dataset) -> Iterator[RoleRow]:
    if dataset.unmatched:
        yield RoleRow("unused", "", len(dataset.unmatched), dataset.relative(dataset.unmatched[0]))


def _class_of(dataset: Dataset, case: Case) -> str:
    if isinstance(case.label, Path) or case.label is None:
        return ""
    return next((name for name, value in dataset.labels.items() if value == case.label), str(case.label))
