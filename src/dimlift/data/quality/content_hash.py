"""What a volume is known by, whatever its file is called and however it is packed."""

import hashlib

import numpy as np

from dimlift.data.case import Case
from dimlift.data.io.readers import read_file
from dimlift.data.volume import Volume


def fingerprint(volume: Volume) -> str:
    """Of shape and voxels as single precision, intensity scaling applied: the same in .nii, .nii.gz and .nrrd."""
    digest = hashlib.blake2b(repr(volume.array.shape).encode(), digest_size=16)
    for plane in volume.array.T if volume.array.ndim == 3 else volume.array.T.reshape(-1, *volume.array.T.shape[2:]):
        digest.update(np.ascontiguousarray(plane, dtype=np.float32).data)
    return digest.hexdigest()


def fingerprints(case: Case) -> list[str]:
    """Of each image of a case; each is read to its end. A channel that is not there has none.

    Raises:
        DataError: if a file cannot be read.
    """
    return [fingerprint(read_file(image)) for image in case.images if image.exists()]
