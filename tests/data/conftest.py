"""Small datasets written to a temporary folder."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_files import SHAPE, make_image, make_mask, save


@pytest.fixture
def plain_folder(tmp_path: Path) -> Callable[..., Path]:
    """images/ and labels/ with n cases."""

    def build(cases: int = 4, classes: int = 2, shape: tuple[int, ...] = SHAPE, **save_options: np.ndarray) -> Path:
        for index in range(cases):
            save(tmp_path / "set" / "images" / f"case_{index}.nii.gz", make_image(index, shape), **save_options)
            save(tmp_path / "set" / "labels" / f"case_{index}.nii.gz", make_mask(index, shape, classes), **save_options)
        return tmp_path / "set"

    return build


@pytest.fixture
def nnunet_folder(tmp_path: Path) -> Callable[..., Path]:
    """nnU-Net's raw layout."""

    def build(cases: int = 3, channels: tuple[str, ...] = ("T1",), labels: dict | None = None) -> Path:
        root = tmp_path / "Dataset001_Test"
        for index in range(cases):
            for channel in range(len(channels)):
                image = make_image(100 * channel + index)
                save(root / "imagesTr" / f"case_{index}_{channel:04d}.nii.gz", image)
            save(root / "labelsTr" / f"case_{index}.nii.gz", make_mask(index))
        description = {
            "channel_names": {str(index): name for index, name in enumerate(channels)},
            "labels": labels or {"background": 0, "a": 1, "b": 2},
            "numTraining": cases,
            "file_ending": ".nii.gz",
        }
        (root / "dataset.json").write_text(json.dumps(description))
        return root

    return build
