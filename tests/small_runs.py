"""Small volumes with two blobs on disk, and configurations of runs that take a second."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from dimlift.studies.load_config import parse
from dimlift.studies.run_config import StudyConfig, TrainConfig

SHAPE = (14, 12, 10)
"""(i, j, k) of the files; k is the through-plane axis."""


def write_case(
    folder: Path, name: str, seed: int, classes: int = 2, shape: tuple[int, ...] = SHAPE, contrast: float = 1.0
) -> None:
    """Write an image of a bright and a dark blob in noise, scaled by `contrast`, and its label map."""
    rng = np.random.default_rng(seed)
    label = np.zeros(shape, np.uint8)
    image = rng.normal(0, 0.3, shape).astype(np.float32)
    for value in range(1, classes + 1):
        centre = [rng.uniform(0.3, 0.7) * n for n in shape]
        grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
        blob = np.linalg.norm(grid - centre, axis=-1) < 3
        label[blob] = value
        image[blob] += 3 * (-1) ** value
    affine = np.diag([-1.0, 1.0, 2.0, 1.0])
    affine[:3, 3] = [5.0, -7.0, 11.0]
    for kind, array in (("images", image * np.float32(contrast)), ("labels", label)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, affine), folder / kind / f"{name}.nii.gz")


def train_raw(data: Path, **changes: Any) -> dict[str, Any]:
    """Return the content of a configuration file for a few steps."""
    raw: dict[str, Any] = {
        "dataset": {"path": str(data)},
        "split": {"folds": 3},
        "arm": {"method": "unet", "widths": [4, 8], "residual_units": 0},
        "budget": {"steps": 4},
        "training": {"patch_size": [8, 8, 8], "batch_size": 1, "num_threads": 1, "device": "cpu"},
    }
    return {**raw, **changes}


def train_config(data: Path, **changes: Any) -> TrainConfig:
    """Return the parsed configuration of a few steps."""
    return parse(train_raw(data, **changes), TrainConfig)


def study_config(data: Path, **changes: Any) -> StudyConfig:
    """Return a study of two small arms and two seeds."""
    raw = train_raw(data)
    arm = raw.pop("arm")
    raw |= {"arms": {"small": arm, "wide": {**arm, "widths": [6, 8]}}, "seeds": [0, 1], "budget": {"steps": 2}}
    return parse({**raw, **changes}, StudyConfig)
