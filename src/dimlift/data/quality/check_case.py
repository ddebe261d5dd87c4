"""Check one case of volumes: its issues, and what is compared with the other cases."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dimlift.data.case import Case, Dataset
from dimlift.data.io.readers import read_volume
from dimlift.data.issue import Issue, issue_from_error
from dimlift.data.orientation import canonical_spacing
from dimlift.data.preprocessing.masks import align_mask
from dimlift.data.quality.content_hash import voxel_hash
from dimlift.data.volume import Volume, require_same_grid
from dimlift.data.voxel_checks import (
    NanPolicy,
    count_labels,
    count_non_finite,
    integer_labels,
    non_finite_issue,
    require_known_labels,
)
from dimlift.errors import DataError

_MAX_VOXELS = 50_000


@dataclass
class CaseReport:
    """Result of checking one case.

    Attributes:
        case: the case.
        issues: what is wrong with its files.
        hashes: path and content hash of each image.
        patients: PatientIDs of its files.
        label_values: labels that occur.
        spacing: (z, y, x) in millimetres; None for point clouds.
        percentiles: 1st, 50th and 99th percentile of the intensities of each image.
    """

    case: Case
    issues: list[Issue] = field(default_factory=list)
    hashes: list[tuple[Path, str]] = field(default_factory=list)
    patients: set[str] = field(default_factory=set)
    label_values: set[int] = field(default_factory=set)
    spacing: tuple[float, float, float] | None = None
    percentiles: list[tuple[float, float, float]] = field(default_factory=list)


def check_case(
    case: Case,
    dataset: Dataset,
    nan_policy: NanPolicy,
    resample_labels: bool = False,
    missing: str = "error",
    read: Callable[[Path], Volume] = read_volume,
) -> CaseReport:
    """Read one case and return its issues; corrupt files are issues, not exceptions.

    Args:
        case: the case.
        dataset: its dataset.
        nan_policy: under "replace" and "mask", NaN and infinite voxels are warnings.
        resample_labels: masks on another grid than their image are resampled, which is a warning.
        missing: under "allow" a case may lack files of some channels, which is a warning.
        read: reads an image.
    """
    report = CaseReport(case)
    first: Volume | None = None
    channels = 0
    absent = [path for path in case.images if not path.exists()]
    for path in case.images:
        if path in absent and len(case.images) > 1:
            allowed = missing == "allow" and len(absent) < len(case.images)
            fix = "restore it, remove its case, or set preprocessing.missing_channels to 'allow'"
            fix = "nothing to do: missing_channels is 'allow'" if allowed else fix
            message = "does not exist: a channel is missing"
            report.issues.append(Issue(str(path), "warning" if allowed else "error", message, fix))
            continue
        try:
            volume = read(path)
            if first is not None:
                require_same_grid(first, volume)
            first = first or volume
        except DataError as fault:
            report.issues.append(issue_from_error(fault, path))
            continue
        channels += 1 if volume.array.ndim == 3 else volume.array.shape[3]
        report.issues += [*volume.issues, *_check_intensities(volume, nan_policy)]
        report.hashes.append((path, voxel_hash(volume)))
        report.percentiles.append(_percentiles(volume.array))
        if patient := getattr(volume.header, "patient", ""):
            report.patients.add(patient)
    if first is not None:
        report.spacing = canonical_spacing(first.affine)
    if first is not None and channels != len(dataset.channels) and len(report.hashes) == len(case.images):
        message = f"has {channels} channels; {len(dataset.channels)} are expected ({', '.join(dataset.channels)})"
        fix = "give every case the same channels in the same order, or correct channel_names in dataset.json"
        report.issues.append(Issue(str(case.images[0]), "error", message, fix))
    if isinstance(case.label, Path):
        _check_mask(case.label, first, dataset, report, resample_labels)
    elif case.label is None:
        if case in dataset.cases:
            fix = "label it, or remove it from the training cases"
            report.issues.append(Issue(str(case.images[0]), "error", "has no label", fix))
    elif dataset.task == "classification":
        report.label_values.add(int(case.label))
    return report


def _check_mask(path: Path, image: Volume | None, dataset: Dataset, report: CaseReport, resample: bool) -> None:
    try:
        mask = read_volume(path)
    except DataError as fault:
        report.issues.append(issue_from_error(fault, path))
        return
    if image is not None:
        try:
            mask = align_mask(mask, image, resample)
        except DataError as fault:
            report.issues.append(issue_from_error(fault, path))
    report.issues += mask.issues
    try:
        values = integer_labels(mask)
        report.label_values.update(count_labels(values))
        ignore = [] if dataset.ignore is None else [dataset.ignore]
        require_known_labels(path, values, [0, *sorted(dataset.labels.values()), *ignore])
    except DataError as fault:
        report.issues.append(issue_from_error(fault, path))
        return
    if not (values != 0).any():
        fix = "check that it was not saved empty by mistake"
        report.issues.append(Issue(str(path), "warning", "holds only background", fix))


def _check_intensities(volume: Volume, nan_policy: NanPolicy) -> Iterator[Issue]:
    array = volume.array
    if count := count_non_finite(array):
        issue = non_finite_issue(volume.path, count, array.size)
        if nan_policy != "error" and count < array.size:
            issue = Issue(issue.file, "warning", issue.message, f"nothing to do: nan_policy is {nan_policy!r}")
        yield issue
    elif array.min() == array.max():
        fix = "check that it was exported completely; a network learns nothing from it"
        yield Issue(str(volume.path), "warning", f"has the same intensity {array.flat[0]:g} everywhere", fix)


def _percentiles(array: NDArray[np.generic]) -> tuple[float, float, float]:
    """Return intensity percentiles of regularly strided voxels."""
    flat = array.ravel(order="K")
    sample = flat[:: max(1, flat.size // _MAX_VOXELS)].astype(np.float64)
    sample = sample[np.isfinite(sample)]
    low, middle, high = (
        (float(value) for value in np.percentile(sample, (1, 50, 99))) if sample.size else (0.0, 0.0, 0.0)
    )
    return low, middle, high
