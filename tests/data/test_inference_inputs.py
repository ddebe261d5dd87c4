"""Inputs of inference: files and folders become cases, channels are matched by number."""

from pathlib import Path

import numpy as np
import pytest
from small_files import make_image, save

from dimlift.data.datasets.inference_inputs import find_inference_cases
from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.io.readers import read_grid
from dimlift.errors import DataError


def test_find_inference_cases_accepts_files_and_folders(tmp_path: Path):
    for name in ("in/b.nii.gz", "in/a.nii", "single_0000.nii.gz"):
        save(tmp_path / name, make_image(0))
    cases = find_inference_cases([tmp_path / "in", tmp_path / "single_0000.nii.gz"], ["T1"])
    assert [case.name for case in cases] == ["a", "b", "single"]
    assert all(case.label is None for case in cases)


def test_find_inference_cases_orders_channels(tmp_path: Path):
    for name in ("p_0001", "p_0000", "q"):
        save(tmp_path / f"{name}.nii.gz", make_image(0))
    p, q = find_inference_cases([tmp_path], ["T1", "T2"])
    assert [path.name for path in p.images] == ["p_0000.nii.gz", "p_0001.nii.gz"]
    assert [path.name for path in q.images] == ["q.nii.gz"]


def test_find_inference_cases_rejects_invalid_input(tmp_path: Path):
    save(tmp_path / "x" / "p_0001.nii.gz", make_image(0))
    save(tmp_path / "y" / "p_0001.nii.gz", make_image(0))
    with pytest.raises(DataError, match=r"lacks p_0000\.nii\.gz \(T1\)"):
        find_inference_cases([tmp_path / "x"], ["T1", "T2"])
    with pytest.raises(DataError, match="has the same name as"):
        find_inference_cases([tmp_path / "x", tmp_path / "y"], ["T1", "T2"])
    with pytest.raises(DataError, match="does not exist"):
        find_inference_cases([tmp_path / "absent"], ["T1"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no volume"):
        find_inference_cases([tmp_path / "empty"], ["T1"])


def test_read_grid_reads_the_header(tmp_path: Path):
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    path = save(tmp_path / "a.nii.gz", make_image(0, (3, 4, 5, 2)), affine)
    grid = read_grid(path)
    assert grid.shape == (3, 4, 5, 2)
    assert np.array_equal(grid.affine, affine)


def test_open_dataset_infers_channels_on_last_axis(tmp_path: Path):
    for index in range(2):
        save(tmp_path / "images" / f"{index}.nii.gz", make_image(index, (3, 4, 5, 2)))
        save(tmp_path / "labels" / f"{index}.nii.gz", np.ones((3, 4, 5), np.uint8))
    assert open_dataset(tmp_path).channels == ("image1", "image2")
