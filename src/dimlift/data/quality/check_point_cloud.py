"""Check one point cloud: readable, labelled, every label named."""

from pathlib import Path

import numpy as np

from dimlift.data.case import Case, Dataset
from dimlift.data.datasets.dataset_json import FILE
from dimlift.data.datasets.point_cloud_index import read_place
from dimlift.data.datasets.point_cloud_set import points_digest
from dimlift.data.datasets.point_clouds import OTHERS
from dimlift.data.issue import Finding, finding_of
from dimlift.data.quality.check_case import Look
from dimlift.errors import DataError


def look_at_cloud(case: Case, dataset: Dataset) -> Look:
    """Read one cloud. Damaged files are findings, never exceptions."""
    seen = Look(case)
    try:
        cloud = read_place(case.images[0])
    except DataError as fault:
        seen.findings.append(finding_of(fault, case.images[0]))
        return seen
    seen.fingerprints.append((case.images[0], points_digest(cloud.points)))
    if not isinstance(case.label, Path):
        seen.values.update([] if case.label is None else [int(case.label)])
        return seen
    if cloud.labels is None:
        remedy = "add a column 'label' (.ply, .pcd) or an array 'labels' (.npz), or take the cloud out"
        seen.findings.append(Finding(str(case.images[0]), "error", "has no labels of its points", remedy))
        return seen
    found = set(np.unique(cloud.labels).tolist())
    unlisted = {value for value in found - set(dataset.labels.values()) if value >= 0 and value != dataset.ignore}
    if unlisted and dataset.ignore != OTHERS:
        told = ", ".join(map(str, sorted(unlisted)[:5]))
        remedy = f'name them among the "labels" of {FILE}, or let "ignore": "others" leave them out'
        seen.findings.append(Finding(str(case.images[0]), "error", f"has points of the classes {told}", remedy))
    seen.values.update(found & set(dataset.labels.values()))
    return seen
