"""Look at every file of a dataset before anything is trained on it, and say what is wrong and the way out."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dimlift.data.cases import Case, Dataset
from dimlift.data.findings import Finding, finding_of, raise_on_errors
from dimlift.data.formats import read_file
from dimlift.data.volume import Volume, require_same_grid
from dimlift.data.voxels import (
    NanPolicy,
    count_non_finite,
    non_finite_finding,
    read_integers,
    require_listed,
    require_nan_policy,
)
from dimlift.errors import DataError

__all__ = ["Finding", "check_dataset", "raise_on_errors"]

Progress = Callable[[int, int], None]


@dataclass
class _Seen:
    """What one case showed."""

    findings: list[Finding] = field(default_factory=list)
    fingerprints: list[tuple[Path, str]] = field(default_factory=list)
    values: set[int] = field(default_factory=set)
    channels: int = 0


def check_dataset(
    dataset: Dataset,
    nan_policy: NanPolicy = "error",
    progress: Progress | None = None,
    workers: int | None = None,
) -> list[Finding]:
    """Read every file once and list what is wrong.

    Args:
        nan_policy: under "replace" and "mask", NaN and infinite voxels are warnings.
        progress: called with (cases done, cases in all).
        workers: threads; None takes one per core, four at most. Each holds one case in memory.

    Returns:
        errors first, then warnings; each in the order of the cases. Empty if all is well.
    """
    require_nan_policy(nan_policy)
    cases = [*dataset.cases, *dataset.test_cases]
    workers = workers or min(4, len(os.sched_getaffinity(0)))
    seen: list[_Seen] = []
    with ThreadPoolExecutor(workers) as pool:
        for done, result in enumerate(pool.map(lambda case: _look(case, dataset, nan_policy), cases), start=1):
            seen.append(result)
            if progress:
                progress(done, len(cases))
    findings = [
        *_structure(dataset),
        *(finding for one in seen for finding in one.findings),
        *_duplicates(cases, seen),
        *_absent(dataset, seen[: len(dataset.cases)]),
    ]
    return sorted(findings, key=lambda finding: finding.level != "error")


def _structure(dataset: Dataset) -> Iterator[Finding]:
    """What can be said without reading a voxel."""
    root = str(dataset.root)
    if len({case.group for case in dataset.cases}) == 1 and not dataset.test_cases:
        what = "case" if len(dataset.cases) == 1 else "patient (group)"
        yield Finding(
            root, "error", f"has one {what} only, which cannot be split into training and test", "add cases of others"
        )
    for path in dataset.unmatched:
        yield Finding(
            str(path), "warning", "belongs to no case: there is no image (or no channel) it goes with",
            "restore what is missing beside it, or remove it",
        )  # fmt: skip
    if dataset.task == "segmentation" and dataset.cases and not dataset.labels:
        yield Finding(root, "error", "has no label but background", "draw masks, or name the labels in dataset.json")


def _look(case: Case, dataset: Dataset, nan_policy: NanPolicy) -> _Seen:
    """Read one case. Damaged files are findings, never exceptions."""
    seen = _Seen()
    first: Volume | None = None
    for path in case.images:
        try:
            volume = read_file(path)
            if first is not None:
                require_same_grid(first, volume)
            first = first or volume
        except DataError as fault:
            seen.findings.append(finding_of(fault, path))
            continue
        seen.channels += 1 if volume.array.ndim == 3 else volume.array.shape[3]
        seen.findings += _intensities(volume, nan_policy)
        seen.fingerprints.append((path, _fingerprint(volume)))
    if first is not None and seen.channels != len(dataset.channels) and len(seen.fingerprints) == len(case.images):
        wanted = f"{len(dataset.channels)} wanted ({', '.join(dataset.channels)})"
        remedy = "give every case the same channels in the same order, or correct channel_names in dataset.json"
        seen.findings.append(Finding(str(case.images[0]), "error", f"has {seen.channels} channels, {wanted}", remedy))
    if isinstance(case.label, Path):
        _look_at_mask(case.label, first, dataset, seen)
    elif case.label is None:
        if case in dataset.cases:
            remedy = "label it, or take it out of the training cases"
            seen.findings.append(Finding(str(case.images[0]), "error", "has no label", remedy))
    elif dataset.task == "classification":
        seen.values.add(int(case.label))
    return seen


def _look_at_mask(path: Path, image: Volume | None, dataset: Dataset, seen: _Seen) -> None:
    try:
        mask = read_file(path)
        values = read_integers(mask)
        seen.values.update(np.unique(values).tolist())
        if image is not None:
            require_same_grid(image, mask)
        ignore = [] if dataset.ignore is None else [dataset.ignore]
        require_listed(path, values, [0, *sorted(dataset.labels.values()), *ignore])
    except DataError as fault:
        seen.findings.append(finding_of(fault, path))
        return
    if not (values != 0).any():
        seen.findings.append(
            Finding(
                str(path), "warning", "holds nothing but background", "check that it was not saved empty by mistake"
            )
        )


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


def _fingerprint(volume: Volume) -> str:
    """The same for the same voxels, however they are packed."""
    digest = hashlib.blake2b(repr(volume.array.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(volume.array.T, dtype=np.float32).data)
    return digest.hexdigest()


def _duplicates(cases: list[Case], seen: list[_Seen]) -> Iterator[Finding]:
    """The same image under two names. Within one patient it only counts twice; across patients it leaks."""
    owners: dict[str, list[tuple[Path, str]]] = defaultdict(list)
    for case, one in zip(cases, seen, strict=True):
        for path, fingerprint in one.fingerprints:
            owners[fingerprint].append((path, case.group))
    for files in owners.values():
        paths = [str(path) for path, _ in files]
        if len(set(paths)) < 2:
            continue
        apart = len({group for _, group in files}) > 1
        yield Finding(
            paths[1],
            "error" if apart else "warning",
            f"holds the same voxels as {paths[0]}" + (f" (and {len(paths) - 2} more)" if len(paths) > 2 else ""),
            "remove one of them" + (", or give both the same group: one would be tested on the other" if apart else ""),
        )


def _absent(dataset: Dataset, seen: list[_Seen]) -> Iterator[Finding]:
    """Classes nobody shows, and classes that only one case shows."""
    if dataset.task == "regression" or not seen:
        return
    counts = Counter(value for one in seen for value in one.values)
    for name, value in dataset.labels.items():
        if counts[value] == 0:
            remedy = "add a case that shows it, or take it out of the labels"
            yield Finding(str(dataset.root), "error", f"the label {name!r} ({value}) is in no training case", remedy)
        elif counts[value] == 1 and len(seen) > 1:
            remedy = "add cases: in every split it is missing from training or from test"
            yield Finding(str(dataset.root), "warning", f"the label {name!r} ({value}) is in one case only", remedy)
