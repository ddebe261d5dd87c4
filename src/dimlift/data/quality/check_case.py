"""Look at one case, file by file: its findings, and what there is to compare with the other cases."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dimlift.data.case import Case, Dataset
from dimlift.data.io.readers import read_file
from dimlift.data.issue import Finding, finding_of
from dimlift.data.orientation import canonical_spacing
from dimlift.data.preprocessing.masks import fit_mask
from dimlift.data.quality.content_hash import fingerprint
from dimlift.data.volume import Volume, require_same_grid
from dimlift.data.voxel_checks import (
    NanPolicy,
    count_labels,
    count_non_finite,
    non_finite_finding,
    read_integers,
    require_listed,
)
from dimlift.errors import DataError

_VOXELS_MEASURED = 50_000


@dataclass
class Look:
    """What one case showed.

    Attributes:
        fingerprints: of the voxels of each image.
        patients: the patient's number where files hold one.
        values: labels in the mask.
        spacing: (z, y, x) in millimetres.
        levels: 1st, 50th and 99th percentile of the intensities of each image.
    """

    case: Case
    findings: list[Finding] = field(default_factory=list)
    fingerprints: list[tuple[Path, str]] = field(default_factory=list)
    patients: set[str] = field(default_factory=set)
    values: set[int] = field(default_factory=set)
    spacing: tuple[float, float, float] | None = None
    levels: list[tuple[float, float, float]] = field(default_factory=list)


def look_at(
    case: Case,
    dataset: Dataset,
    nan_policy: NanPolicy,
    resample_labels: bool = False,
    missing: str = "error",
    read: Callable[[Path], Volume] = read_file,
) -> Look:
    """Read one case. Damaged files are findings, never exceptions."""
    seen = Look(case)
    first: Volume | None = None
    channels = 0
    absent = [path for path in case.images if not path.exists()]
    for path in case.images:
        if path in absent and len(case.images) > 1:
            allowed = missing == "allow" and len(absent) < len(case.images)
            remedy = "restore it, take its case out, or set preprocessing.missing_sequences to 'allow'"
            remedy = "nothing to do: missing_sequences is 'allow'" if allowed else remedy
            found = "there is no such file: a channel is missing"
            seen.findings.append(Finding(str(path), "warning" if allowed else "error", found, remedy))
            continue
        try:
            volume = read(path)
            if first is not None:
                require_same_grid(first, volume)
            first = first or volume
        except DataError as fault:
            seen.findings.append(finding_of(fault, path))
            continue
        channels += 1 if volume.array.ndim == 3 else volume.array.shape[3]
        seen.findings += [*volume.remarks, *_intensities(volume, nan_policy)]
        seen.fingerprints.append((path, fingerprint(volume)))
        seen.levels.append(_levels(volume.array))
        if patient := getattr(volume.header, "patient", ""):
            seen.patients.add(patient)
    if first is not None:
        seen.spacing = canonical_spacing(first.affine)
    if first is not None and channels != len(dataset.channels) and len(seen.fingerprints) == len(case.images):
        wanted = f"{len(dataset.channels)} wanted ({', '.join(dataset.channels)})"
        remedy = "give every case the same channels in the same order, or correct channel_names in dataset.json"
        seen.findings.append(Finding(str(case.images[0]), "error", f"has {channels} channels, {wanted}", remedy))
    if isinstance(case.label, Path):
        _look_at_mask(case.label, first, dataset, seen, resample_labels)
    elif case.label is None:
        if case in dataset.cases:
            remedy = "label it, or take it out of the training cases"
            seen.findings.append(Finding(str(case.images[0]), "error", "has no label", remedy))
    elif dataset.task == "classification":
        seen.values.add(int(case.label))
    return seen


def _look_at_mask(path: Path, image: Volume | None, dataset: Dataset, seen: Look, resample: bool) -> None:
    try:
        mask = read_file(path)
    except DataError as fault:
        seen.findings.append(finding_of(fault, path))
        return
    if image is not None:
        try:
            mask = fit_mask(mask, image, resample)
        except DataError as fault:
            seen.findings.append(finding_of(fault, path))
    seen.findings += mask.remarks
    try:
        values = read_integers(mask)
        seen.values.update(count_labels(values))
        ignore = [] if dataset.ignore is None else [dataset.ignore]
        require_listed(path, values, [0, *sorted(dataset.labels.values()), *ignore])
    except DataError as fault:
        seen.findings.append(finding_of(fault, path))
        return
    if not (values != 0).any():
        remedy = "check that it was not saved empty by mistake"
        seen.findings.append(Finding(str(path), "warning", "holds nothing but background", remedy))


def _intensities(volume: Volume, nan_policy: NanPolicy) -> Iterator[Finding]:
    array = volume.array
    if count := count_non_finite(array):
        finding = non_finite_finding(volume.path, count, array.size)
        if nan_policy != "error" and count < array.size:
            remedy = f"nothing to do: nan_policy is {nan_policy!r}"
            finding = Finding(finding.file, "warning", finding.finding, remedy)
        yield finding
    elif array.min() == array.max():
        remedy = "check that it was exported whole; it teaches nothing"
        yield Finding(str(volume.path), "warning", f"has the same intensity {array.flat[0]:g} everywhere", remedy)


def _levels(array: NDArray[np.generic]) -> tuple[float, float, float]:
    """Percentiles of an evenly strided part of the voxels."""
    flat = array.ravel(order="K")
    some = flat[:: max(1, flat.size // _VOXELS_MEASURED)].astype(np.float64)
    some = some[np.isfinite(some)]
    low, middle, high = (float(level) for level in np.percentile(some, (1, 50, 99))) if some.size else (0.0, 0.0, 0.0)
    return low, middle, high
