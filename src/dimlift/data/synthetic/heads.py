"""Synthetic head volumes derived from one template: the MNI152 average, which is part of the nilearn package.

Every subject is the template with its own smooth deformation, position, contrast, bias field and noise. The anatomy is
real, the variation is not: results show that a pipeline works and do not transfer to patients.

Template: Fonov et al., 2011, https://doi.org/10.1016/j.neuroimage.2010.07.033
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dimlift.data.io.nifti import write_nifti_labels, write_nifti_volume
from dimlift.errors import DataError
from dimlift.records.record import write_json

LABELS = {"background": 0, "grey matter": 1, "white matter": 2, "rest of the brain": 3}
NOTE = (
    "Synthetic subjects: the MNI152 average head (nilearn), each with its own smooth deformation, contrast, "
    "bias field and noise. Not data of people."
)

_TEMPLATE_MM = 2
_CONTROL_MM = 30.0
_MAX_INTENSITY = 1000


def simulate_heads(
    folder: str | Path, subjects: int = 16, seed: int = 0, size: tuple[int, int, int] = (52, 60, 48)
) -> Path:
    """Write a dataset of synthetic subjects in nnU-Net's raw layout.

    Args:
        folder: created if it does not exist; files of the same names are replaced.
        subjects: number of subjects.
        seed: random seed; subject i of a seed does not depend on the number of subjects.
        size: voxels along (z, y, x). The brain fills the volume: the default gives voxels of about 3 mm.

    Returns:
        The folder.

    Raises:
        DataError: for fewer than two subjects, or fewer than 8 voxels along an axis.
    """
    if subjects < 2 or min(size) < 8:
        raise DataError(f"{subjects} subjects of {size} voxels requested; use at least 2 of at least 8 per axis")
    folder = Path(folder)
    for index in range(subjects):
        name = f"subject_{index + 1:03d}"
        image, label, affine = simulate_head(np.random.default_rng([seed, index]), size)
        write_nifti_volume(folder / "imagesTr" / f"{name}_0000.nii.gz", image, affine)
        write_nifti_labels(folder / "labelsTr" / f"{name}.nii.gz", label, affine)
    description = {
        "name": "simulated heads",
        "description": NOTE,
        "simulated": True,
        "channel_names": {"0": "T1"},
        "labels": LABELS,
        "numTraining": subjects,
        "file_ending": ".nii.gz",
    }
    write_json(folder / "dataset.json", description)
    return folder


def simulate_head(
    rng: np.random.Generator, size: tuple[int, int, int] = (52, 60, 48)
) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.float64]]:
    """Return one synthetic subject.

    Args:
        rng: random generator.
        size: voxels along (z, y, x).

    Returns:
        Image and label on the axes (x, y, z) of a file, and the affine.
    """
    t1, grey, white, low, high = _load_template()
    count = np.array(size[::-1])
    spacing = float((np.subtract(high, low) * _TEMPLATE_MM / count).max() * rng.uniform(1.06, 1.14))
    offsets = (np.indices(tuple(count)).reshape(3, -1).T - (count - 1) / 2) * spacing  # millimetres from the centre
    placed = offsets @ _random_affine(rng).T
    positions = (placed + _random_deformation(rng, tuple(count), spacing)) / _TEMPLATE_MM + (np.add(low, high) / 2)
    maps = [_sample_volume(one, positions).reshape(tuple(count)) for one in (t1, grey, white)]
    brain = maps[0] > 0.1
    label = np.zeros(tuple(count), dtype=np.uint8)
    label[brain] = 3
    label[brain & (maps[1] > 0.5)] = 1
    label[brain & (maps[2] > 0.5)] = 2
    image = _simulate_scan(rng, *maps)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -(count - 1) / 2 * spacing + rng.uniform(-10, 10, size=3)
    return image, label, affine


@lru_cache(maxsize=1)
def _load_template() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], list[int], list[int]]:
    """Return T1, probabilities of grey and white matter, and the first and last voxel of the brain along each axis."""
    from nilearn import datasets  # a slow import

    t1, grey, white = (
        load(resolution=_TEMPLATE_MM).get_fdata(dtype=np.float32)
        for load in (datasets.load_mni152_template, datasets.load_mni152_gm_template, datasets.load_mni152_wm_template)
    )
    brain = np.nonzero(t1 > 0.1)
    return t1, grey, white, [int(axis.min()) for axis in brain], [int(axis.max()) for axis in brain]


def _random_affine(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a small rotation and scaling, (3, 3)."""
    x, y, z = np.radians(rng.normal(0, 4, size=3))
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return about_x @ about_y @ about_z @ np.diag(rng.normal(1.0, 0.05, size=3))


def _random_deformation(rng: np.random.Generator, count: tuple[int, ...], spacing: float) -> NDArray[np.float64]:
    """Return smooth displacements in millimetres, (voxels, 3): random at points 30 mm apart, cubic in between."""
    points = [max(4, round(size * spacing / _CONTROL_MM) + 1) for size in count]
    moves = rng.normal(0, 4.0, size=(3, *points))
    ratio = [(n - 1) / (size - 1) for n, size in zip(points, count, strict=True)]
    smooth = [ndimage.affine_transform(one, ratio, output_shape=count, order=3, mode="nearest") for one in moves]
    return np.stack([one.ravel() for one in smooth], axis=1)


def _sample_volume(volume: NDArray[np.float32], positions: NDArray[np.float64]) -> NDArray[np.float32]:
    return ndimage.map_coordinates(volume, positions.T, order=1, mode="constant")


def _simulate_scan(
    rng: np.random.Generator, t1: NDArray[np.float32], grey: NDArray[np.float32], white: NDArray[np.float32]
) -> NDArray[np.int16]:
    """Return an image with random contrast, bias field and noise."""
    image = np.clip(t1, 0, None) ** rng.uniform(0.7, 1.5)
    image = image + rng.normal(0, 0.06) * grey + rng.normal(0, 0.06) * white
    coarse = rng.normal(0, 0.15, size=(3, 3, 3))
    ratio = [2 / (size - 1) for size in t1.shape]
    image = image * np.exp(ndimage.affine_transform(coarse, ratio, output_shape=t1.shape, order=2, mode="nearest"))
    sigma = rng.uniform(0.02, 0.06)
    noisy = np.hypot(image + rng.normal(0, sigma, image.shape), rng.normal(0, sigma, image.shape))  # Rician, as in MR
    return np.clip(noisy * _MAX_INTENSITY, 0, 32767).astype(np.int16)
