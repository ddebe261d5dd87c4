"""Look at every file of a dataset before anything is trained on it, and say what is wrong and the way out."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from dimlift.data.case import Case, Dataset
from dimlift.data.io.readers import read_file
from dimlift.data.issue import Finding, raise_on_errors
from dimlift.data.quality.check_case import Look, look_at
from dimlift.data.quality.outliers import find_outliers
from dimlift.data.volume import Volume
from dimlift.data.voxel_checks import NanPolicy, require_nan_policy
from dimlift.errors import UnknownName

__all__ = ["Finding", "check_dataset", "raise_on_errors"]

Progress = Callable[[int, int], None]


def check_dataset(
    dataset: Dataset,
    nan_policy: NanPolicy = "error",
    progress: Progress | None = None,
    workers: int | None = None,
    resample_labels: bool = False,
    missing: Literal["error", "allow"] = "error",
    read: Callable[[Path], Volume] = read_file,
) -> list[Finding]:
    """Read every file once and list what is wrong.

    Args:
        nan_policy: under "replace" and "mask", NaN and infinite voxels are warnings.
        progress: called with (cases done, cases in all).
        missing: under "allow" a case may lack files of some channels, which is then a warning.
        workers: threads; None takes one per core, four at most. Each holds one case in memory.
        resample_labels: masks on another grid than their image are resampled, which is a warning.
        read: reads an image; called by `workers` threads.

    Returns:
        errors first, then warnings; each in the order of the cases. Empty if all is well.
    """
    require_nan_policy(nan_policy)
    if missing not in ("error", "allow"):
        raise UnknownName("way with missing sequences", missing, ("error", "allow"))
    return check_cases(
        dataset, lambda case: look_at(case, dataset, nan_policy, resample_labels, missing, read), progress, workers
    )


def check_cases(
    dataset: Dataset,
    look: Callable[[Case], Look],
    progress: Progress | None = None,
    workers: int | None = None,
    content: str = "voxels",
) -> list[Finding]:
    """Look at every case, and list what is wrong with each and between them.

    Args:
        look: reads one case; damaged files are findings of it, never exceptions.
        progress: called with (cases done, cases in all).
        workers: threads; None takes one per core, four at most.
        content: what files are made of, for messages.
    """
    cases = [*dataset.cases, *dataset.test_cases]
    workers = workers or min(4, len(os.sched_getaffinity(0)))
    looks: list[Look] = []
    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(look, cases)
        for done, result in enumerate(results, start=1):
            looks.append(result)
            if progress:
                progress(done, len(cases))
    findings = [
        *_structure(dataset),
        *_used_twice(dataset),
        *(finding for look in looks for finding in look.findings),
        *_same_content(dataset, looks, content),
        *_patients(looks[: len(dataset.cases)], looks),
        *_absent(dataset, looks[: len(dataset.cases)]),
        *find_outliers(looks, dataset.channels),
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
    for group in sorted({case.group for case in dataset.cases} & {case.group for case in dataset.test_cases}):
        remedy = "take the patient out of one of them: a score on patients the network has seen is worth nothing"
        yield Finding(root, "error", f"has the patient {group!r} among the training and the test cases", remedy)


def _used_twice(dataset: Dataset) -> Iterator[Finding]:
    """One name for two cases, one file in two cases."""
    cases: Sequence[Case] = [*dataset.cases, *dataset.test_cases]
    for name, count in Counter(case.name for case in cases).items():
        if count > 1:
            remedy = "give every case a name of its own: they would overwrite each other's results"
            yield Finding(str(dataset.root), "error", f"has {count} cases called {name!r}", remedy)
    owners: dict[Path, list[Case]] = defaultdict(list)
    for case in cases:
        for path in {*case.images, *([case.label] if isinstance(case.label, Path) else [])}:
            owners[path.resolve()].append(case)
    for path, users in owners.items():
        if len(users) > 1:
            names = " and ".join(repr(case.name) for case in users[:2])
            remedy = "list each file once; a case must not be both trained on and tested on"
            yield Finding(str(path), "error", f"belongs to {len(users)} cases ({names})", remedy)


def _same_content(dataset: Dataset, looks: Sequence[Look], content: str) -> Iterator[Finding]:
    """The same file under two names. Within one patient it only counts twice; across patients it leaks."""
    training = set(dataset.cases)
    owners: dict[str, list[tuple[Path, Case]]] = defaultdict(list)
    for look in looks:
        for path, fingerprint in look.fingerprints:
            owners[fingerprint].append((path, look.case))
    for files in owners.values():
        paths = [str(path) for path, _ in files]
        if len({path.resolve() for path, _ in files}) < 2:
            continue
        apart = len({case.group for _, case in files}) > 1 and any(case in training for _, case in files)
        yield Finding(
            paths[1],
            "error" if apart else "warning",
            f"holds the same {content} as {paths[0]}" + (f" (and {len(paths) - 2} more)" if len(paths) > 2 else ""),
            "remove one of them" + (", or give both the same group: one would be tested on the other" if apart else ""),
        )


def _patients(training: Sequence[Look], looks: Sequence[Look]) -> Iterator[Finding]:
    """Two groups whose files name the same patient (DICOM says who it is)."""
    groups: dict[str, dict[str, Path]] = defaultdict(dict)
    for look in looks if training else ():
        for patient in look.patients:
            groups[patient].setdefault(look.case.group, look.case.images[0])
    for files in groups.values():
        if len(files) > 1:
            first, second, *_ = files.values()
            found = f"is of the same patient as {first} (their PatientID is the same)"
            remedy = "give both the same group in a CSV table: one would be tested on the other"
            yield Finding(str(second), "error", found, remedy)
    for look in looks:
        if len(look.patients) > 1:
            found = f"holds channels of {len(look.patients)} patients (their PatientID differs)"
            yield Finding(str(look.case.images[0]), "error", found, "put the channels of one patient together")


def _absent(dataset: Dataset, looks: Sequence[Look]) -> Iterator[Finding]:
    """Classes nobody shows, and classes that only one case shows."""
    if dataset.task == "regression" or not looks:
        return
    counts = Counter(value for look in looks for value in look.values)
    for name, value in dataset.labels.items():
        if counts[value] == 0:
            remedy = "add a case that shows it, or take it out of the labels"
            yield Finding(str(dataset.root), "error", f"the label {name!r} ({value}) is in no training case", remedy)
        elif counts[value] == 1 and len(looks) > 1:
            remedy = "add cases: in every split it is missing from training or from test"
            yield Finding(str(dataset.root), "warning", f"the label {name!r} ({value}) is in one case only", remedy)
