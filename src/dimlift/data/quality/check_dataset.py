"""Check every file of a dataset before training, and list what is wrong and how to fix it."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from dimlift.data.case import Case, Dataset
from dimlift.data.io.readers import read_volume
from dimlift.data.issue import Issue
from dimlift.data.quality.check_case import CaseReport, check_case
from dimlift.data.quality.check_point_cloud import check_point_cloud_case
from dimlift.data.quality.outliers import find_outliers
from dimlift.data.volume import Volume
from dimlift.data.voxel_checks import NanPolicy, require_nan_policy
from dimlift.errors import UnknownNameError


def check_dataset(
    dataset: Dataset,
    nan_policy: NanPolicy = "error",
    on_progress: Callable[[int, int], None] | None = None,
    num_workers: int | None = None,
    resample_labels: bool = False,
    missing: Literal["error", "allow"] = "error",
    read: Callable[[Path], Volume] = read_volume,
) -> list[Issue]:
    """Read every file once and return what is wrong with each and between them.

    Args:
        dataset: volumes or point clouds.
        nan_policy: under "replace" and "mask", NaN and infinite voxels are warnings.
        on_progress: called with the number of cases checked and the number of all cases.
        num_workers: threads; None uses one per core, four at most. Each holds one case in memory.
        resample_labels: masks on another grid than their image are resampled, which is a warning.
        missing: under "allow" a case may lack files of some channels, which is a warning.
        read: reads an image; called by `num_workers` threads.

    Returns:
        Errors first, then warnings, each in the order of the cases; empty if nothing is wrong.
    """
    require_nan_policy(nan_policy)
    if missing not in ("error", "allow"):
        raise UnknownNameError("value of missing_channels", missing, ("error", "allow"))

    def check(case: Case) -> CaseReport:
        if dataset.modality == "point_clouds":
            return check_point_cloud_case(case, dataset)
        return check_case(case, dataset, nan_policy, resample_labels, missing, read)

    cases = [*dataset.cases, *dataset.test_cases]
    reports: list[CaseReport] = []
    with ThreadPoolExecutor(num_workers or min(4, len(os.sched_getaffinity(0)))) as pool:
        for done, report in enumerate(pool.map(check, cases), start=1):
            reports.append(report)
            if on_progress:
                on_progress(done, len(cases))
    issues = [
        *_check_structure(dataset),
        *_check_duplicate_use(dataset),
        *(issue for report in reports for issue in report.issues),
        *_check_duplicate_content(dataset, reports),
        *_check_patients(reports[: len(dataset.cases)], reports),
        *_check_classes(dataset, reports[: len(dataset.cases)]),
        *find_outliers(reports, dataset.channels),
    ]
    if unlabelled := _missing_masks(dataset):
        absent = {str(case.label) for case in dataset.cases}
        issues = [unlabelled, *(issue for issue in issues if issue.file not in absent)]
    return sorted(issues, key=lambda issue: issue.level != "error")


def _missing_masks(dataset: Dataset) -> Issue | None:
    """Return one issue in place of one per case where no case has a mask."""
    masks = [case.label for case in dataset.cases if isinstance(case.label, Path)]
    if dataset.modality == "point_clouds" or len(masks) < 2 or any(mask.exists() for mask in masks):
        return None
    message = f"has no mask for any of its {len(masks)} cases; {dataset.relative(masks[0])} is expected first"
    fix = "put the masks there; images without masks are for `dimlift predict`"
    return Issue(str(dataset.root), "error", message, fix)


def _check_structure(dataset: Dataset) -> Iterator[Issue]:
    """Yield issues that need no file content."""
    root = str(dataset.root)
    if len({case.group for case in dataset.cases}) == 1 and not dataset.test_cases:
        unit = "case" if len(dataset.cases) == 1 else "patient (group)"
        message = f"has only one {unit}, which cannot be split into training and test"
        yield Issue(root, "error", message, "add cases of others")
    for path in dataset.unmatched:
        message = "belongs to no case: its image, its mask or a channel is missing"
        yield Issue(str(path), "warning", message, "restore the missing file next to it, or remove it")
    if dataset.task == "segmentation" and dataset.cases and not dataset.labels:
        yield Issue(root, "error", "has no label but background", "draw masks, or name the labels in dataset.json")
    for group in sorted({case.group for case in dataset.cases} & {case.group for case in dataset.test_cases}):
        fix = "remove the patient from one of them: scores on patients of the training set are not valid"
        yield Issue(root, "error", f"has the patient {group!r} in the training and the test cases", fix)


def _check_duplicate_use(dataset: Dataset) -> Iterator[Issue]:
    """Yield names shared by two cases, and files used by two cases."""
    cases: Sequence[Case] = [*dataset.cases, *dataset.test_cases]
    for name, count in Counter(case.name for case in cases).items():
        if count > 1:
            fix = "give every case its own name: their results would overwrite each other"
            yield Issue(str(dataset.root), "error", f"has {count} cases with the name {name!r}", fix)
    owners: dict[Path, list[Case]] = defaultdict(list)
    for case in cases:
        for path in {*case.images, *([case.label] if isinstance(case.label, Path) else [])}:
            owners[path.resolve()].append(case)
    for path, users in owners.items():
        if len(users) > 1:
            names = " and ".join(repr(case.name) for case in users[:2])
            fix = "list each file once; a case must not be in the training and the test set"
            yield Issue(str(path), "error", f"belongs to {len(users)} cases ({names})", fix)


def _check_duplicate_content(dataset: Dataset, reports: Sequence[CaseReport]) -> Iterator[Issue]:
    """Yield files with equal content; between two patients that is leakage, within one only a double weight."""
    content = "points" if dataset.modality == "point_clouds" else "voxels"
    training = set(dataset.cases)
    owners: dict[str, list[tuple[Path, Case]]] = defaultdict(list)
    for report in reports:
        for path, content_hash in report.hashes:
            owners[content_hash].append((path, report.case))
    for files in owners.values():
        paths = [str(path) for path, _ in files]
        if len({path.resolve() for path, _ in files}) < 2:
            continue
        leaks = len({case.group for _, case in files}) > 1 and any(case in training for _, case in files)
        yield Issue(
            paths[1],
            "error" if leaks else "warning",
            f"holds the same {content} as {paths[0]}" + (f" (and {len(paths) - 2} more)" if len(paths) > 2 else ""),
            "remove one of them" + (", or give both the same group: a split could separate them" if leaks else ""),
        )


def _check_patients(training: Sequence[CaseReport], reports: Sequence[CaseReport]) -> Iterator[Issue]:
    """Yield groups that share a patient, and cases of several patients, by the PatientID of DICOM files."""
    groups: dict[str, dict[str, Path]] = defaultdict(dict)
    for report in reports if training else ():
        for patient in report.patients:
            groups[patient].setdefault(report.case.group, report.case.images[0])
    for files in groups.values():
        if len(files) > 1:
            first, second, *_ = files.values()
            message = f"is of the same patient as {first} (their PatientID is the same)"
            fix = "give both the same group in a CSV table: a split could separate them"
            yield Issue(str(second), "error", message, fix)
    for report in reports:
        if len(report.patients) > 1:
            message = f"holds channels of {len(report.patients)} patients (their PatientID differs)"
            yield Issue(str(report.case.images[0]), "error", message, "combine the channels of one patient")


def _check_classes(dataset: Dataset, reports: Sequence[CaseReport]) -> Iterator[Issue]:
    """Yield classes that occur in no case or in a single one."""
    if dataset.task == "regression" or not reports:
        return
    counts = Counter(value for report in reports for value in report.label_values)
    for name, value in dataset.labels.items():
        if counts[value] == 0:
            fix = "add a case with it, or remove it from the labels"
            yield Issue(str(dataset.root), "error", f"the label {name!r} ({value}) is in no training case", fix)
        elif counts[value] == 1 and len(reports) > 1:
            fix = "add cases: in every split it is missing from the training or the test set"
            yield Issue(str(dataset.root), "warning", f"the label {name!r} ({value}) is in one case only", fix)
