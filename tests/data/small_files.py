"""Small files written with nibabel, not with the code under test."""

from pathlib import Path

import nibabel as nib
import numpy as np

HIPPOCAMPUS = Path(__file__).resolve().parents[3] / "shared" / "data" / "hippocampus"

SHAPE = (6, 7, 5)


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    """Write a NIfTI file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def make_image(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 20, size=shape).astype(np.float32)


def make_mask(seed: int, shape: tuple[int, ...] = SHAPE, classes: int = 2) -> np.ndarray:
    mask = np.random.default_rng(seed).integers(0, classes + 1, size=shape).astype(np.uint8)
    mask.flat[: classes + 1] = range(classes + 1)
    return mask
