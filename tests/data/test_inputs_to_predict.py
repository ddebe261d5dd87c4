"""Files and folders to predict become cases; channels find each other by number."""

from pathlib import Path

import numpy as np
import pytest
from small_files import make_image, save

from dimlift.data.datasets.inference_inputs import find_inputs
from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.io.readers import read_grid
from dimlift.errors import DataError


def test_files_and_folders(tmp_path: Path):
    for name in ("in/b.nii.gz", "in/a.nii", "single_0000.nii.gz"):
        save(tmp_path / name, make_image(0))
    cases = find_inputs([tmp_path / "in", tmp_path / "single_0000.nii.gz"], ["T1"])
    assert [case.name for case in cases] == ["a", "b", "single"]
    assert all(case.label is None for case in cases)


def test_channels_are_put_together_in_order(tmp_path: Path):
    for name in ("p_0001", "p_0000", "q"):
        save(tmp_path / f"{name}.nii.gz", make_image(0))
    p, q = find_inputs([tmp_path], ["T1", "T2"])
    assert [path.name for path in p.images] == ["p_0000.nii.gz", "p_0001.nii.gz"]
    assert [path.name for path in q.images] == ["q.nii.gz"]


def test_what_cannot_be_predicted_is_named(tmp_path: Path):
    save(tmp_path / "x" / "p_0001.nii.gz", make_image(0))
    save(tmp_path / "y" / "p_0001.nii.gz", make_image(0))
    with pytest.raises(DataError, match=r"lacks p_0000\.nii\.gz \(T1\)"):
        find_inputs([tmp_path / "x"], ["T1", "T2"])
    with pytest.raises(DataError, match="has the name of"):
        find_inputs([tmp_path / "x", tmp_path / "y"], ["T1", "T2"])
    with pytest.raises(DataError, match="no such file"):
        find_inputs([tmp_path / "absent"], ["T1"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no volume"):
        find_inputs([tmp_path / "empty"], ["T1"])


def test_the_header_alone_tells_the_grid(tmp_path: Path):
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    path = save(tmp_path / "a.nii.gz", make_image(0, (3, 4, 5, 2)), affine)
    grid = read_grid(path)
    assert grid.shape == (3, 4, 5, 2)
    assert np.array_equal(grid.affine, affine)


def test_channels_on_the_last_axis_are_found_without_a_description(tmp_path: Path):
    for index in range(2):
        save(tmp_path / "images" / f"{index}.nii.gz", make_image(index, (3, 4, 5, 2)))
        save(tmp_path / "labels" / f"{index}.nii.gz", np.ones((3, 4, 5), np.uint8))
    assert open_dataset(tmp_path).channels == ("image1", "image2")
