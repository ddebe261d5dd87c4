"""Datasets and samples: files to cases, cases to arrays, arrays to batches.

`io` reads and writes files, `datasets` finds the cases of a folder or table, `quality` checks them, `preprocessing`
converts a case to arrays and back, `sampling` makes batches.

Names are imported on first use.
"""

from typing import TYPE_CHECKING

from dimlift.lookup import lazy_exports

if TYPE_CHECKING:
    from dimlift.data.case import Case as Case
    from dimlift.data.datasets.open_dataset import open_dataset as open_dataset
    from dimlift.data.io.point_cloud import read_point_cloud as read_point_cloud
    from dimlift.data.io.readers import read_volume as read_volume
    from dimlift.data.io.writers import write_labels as write_labels
    from dimlift.data.preprocessing.preprocessing import Preprocessing as Preprocessing
    from dimlift.data.quality.check_dataset import check_dataset as check_dataset
    from dimlift.data.sampling.patch_sampler import PatchSampler as PatchSampler
    from dimlift.data.sampling.point_cloud_sampler import PointCloudSampler as PointCloudSampler

_HOMES = {
    "Case": "case",
    "PatchSampler": "sampling.patch_sampler",
    "PointCloudSampler": "sampling.point_cloud_sampler",
    "Preprocessing": "preprocessing.preprocessing",
    "check_dataset": "quality.check_dataset",
    "open_dataset": "datasets.open_dataset",
    "read_point_cloud": "io.point_cloud",
    "read_volume": "io.readers",
    "write_labels": "io.writers",
}

__all__ = sorted(_HOMES)
__getattr__ = lazy_exports(__name__, _HOMES)
