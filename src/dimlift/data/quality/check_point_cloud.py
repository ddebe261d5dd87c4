"""Check one point cloud: readable, of some extent, labelled, every label named."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dimlift.data.case import Case, Dataset
from dimlift.data.datasets.dataset_json import DATASET_JSON
from dimlift.data.datasets.point_cloud_index import load_entry
from dimlift.data.datasets.point_cloud_set import points_hash
from dimlift.data.datasets.point_clouds import IGNORE_OTHERS
from dimlift.data.issue import Issue, issue_from_error
from dimlift.data.quality.check_case import CaseReport
from dimlift.errors import DataError


def check_point_cloud_case(case: Case, dataset: Dataset) -> CaseReport:
    """Read one point cloud and return its issues; corrupt files are issues, not exceptions."""
    report, file = CaseReport(case), str(case.images[0])
    try:
        cloud = load_entry(case.images[0], case.columns)
    except DataError as fault:
        report.issues.append(issue_from_error(fault, file))
        return report
    report.hashes.append((case.images[0], points_hash(cloud.points)))
    report.issues += _check_extent(file, cloud.points)
    if not isinstance(case.label, Path):
        report.label_values.update([] if case.label is None else [int(case.label)])
        return report
    if cloud.labels is None:
        fix = "add a column 'label' (.ply, .pcd) or an array 'labels' (.npz), or remove the point cloud"
        report.issues.append(Issue(file, "error", "has no labels of its points", fix))
        return report
    present, named = set(np.unique(cloud.labels).tolist()), set(dataset.labels.values())
    unnamed = {value for value in present - named if value >= 0 and value != dataset.ignore}
    if unnamed and dataset.ignore != IGNORE_OTHERS:
        values = ", ".join(map(str, sorted(unnamed)[:5]))
        fix = f'name them in the "labels" of {DATASET_JSON}, or ignore them with "ignore": "others"'
        report.issues.append(Issue(file, "error", f"has points with the labels {values}, which have no name", fix))
    report.label_values.update(present & named)
    return report


def _check_extent(file: str, points: NDArray[np.float64]) -> Iterator[Issue]:
    """Yield an issue for points at one place, which cannot be normalised, or in a plane along the axes."""
    flat = [axis for axis, extent in zip("xyz", np.ptp(points, axis=0), strict=True) if not extent > 0]
    if len(flat) == 3:
        message, fix = f"has all {len(points)} points at one place", "export it again, or remove it"
        yield Issue(file, "error", message, fix)
    elif flat:
        message = f"has no extent along {' and '.join(flat)}: all points have the same value"
        yield Issue(file, "warning", message, "check that it was exported completely")
