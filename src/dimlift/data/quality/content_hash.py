"""Hashes that identify a volume regardless of file name and format."""

import hashlib

import numpy as np

from dimlift.data.case import Case
from dimlift.data.io.readers import read_volume
from dimlift.data.volume import Volume


def voxel_hash(volume: Volume) -> str:
    """Return the hash of shape and voxels in single precision, equal for .nii, .nii.gz and .nrrd of one volume."""
    digest = hashlib.blake2b(repr(volume.array.shape).encode(), digest_size=16)
    for plane in volume.array.T if volume.array.ndim == 3 else volume.array.T.reshape(-1, *volume.array.T.shape[2:]):
        digest.update(np.ascontiguousarray(plane, dtype=np.float32).data)
    return digest.hexdigest()


def case_hashes(case: Case) -> list[str]:
    """Return the hash of each image of a case; files of missing channels are skipped.

    Raises:
        DataError: if a file cannot be read.
    """
    return [voxel_hash(read_volume(image)) for image in case.images if image.exists()]
