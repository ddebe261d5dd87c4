"""Inputs of inference: files and folders become cases, channels are matched by number."""

from pathlib import Path

import numpy as np
import pytest
from small_files import make_image, make_mask, save

from dimlift.data.datasets.inference_inputs import find_inference_cases
from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.io.readers import read_grid
from dimlift.data.preprocessing.preprocessing import Preprocessing
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


def test_numbers_belong_to_cases_where_the_training_set_had_no_channel_files(tmp_path: Path):
    names = [f"scan_{number:04d}" for number in range(3)]
    for name in names:
        save(tmp_path / f"{name}.nii.gz", make_image(0))
    cases = find_inference_cases([tmp_path], ["T1"], numbered_files=False)
    assert [(case.name, case.images[0].name) for case in cases] == [(name, f"{name}.nii.gz") for name in names]
    assert len(find_inference_cases([tmp_path], ["T1", "T2"], numbered_files=False)) == 3
    for numbered_files in (True, None):
        with pytest.raises(DataError, match="case scan has 3 channel files"):
            find_inference_cases([tmp_path], ["T1"], numbered_files=numbered_files)


@pytest.mark.parametrize(
    ("images", "masks", "numbered"),
    [
        (["images/a_0000", "images/b_0001"], ["labels/a_0000", "labels/b_0001"], False),
        (["images/a_0000", "images/b_0000"], ["labels/a", "labels/b"], True),
        (["p0/t1", "p0/t2", "p1/t1", "p1/t2"], ["p0/seg", "p1/seg"], True),
    ],
)
def test_preprocessing_stores_whether_files_are_channels(images, masks, numbered, tmp_path: Path):
    for name in images:
        save(tmp_path / f"{name}.nii.gz", make_image(0))
    for name in masks:
        save(tmp_path / f"{name}.nii.gz", make_mask(0))
    dataset = open_dataset(tmp_path)
    preprocessing = Preprocessing.fit(dataset, dataset.cases)
    assert preprocessing.numbered_files is numbered
    assert Preprocessing.from_json(preprocessing.to_json()).numbered_files is numbered


def test_channel_names_at_the_end_of_file_names(tmp_path: Path):
    for name in ("p_T1", "p_flair", "q_flair", "q_t1"):
        save(tmp_path / f"{name}.nii.gz", make_image(0))
    p, q = find_inference_cases([tmp_path], ["flair", "t1"], numbered_files=True)
    assert [path.name for path in p.images] == ["p_flair.nii.gz", "p_T1.nii.gz"]
    assert q.name == "q"
    (tmp_path / "q_t1.nii.gz").unlink()
    with pytest.raises(DataError, match=r"lacks q_t1\.nii\.gz \(t1\)"):
        find_inference_cases([tmp_path], ["flair", "t1"], numbered_files=True)


def test_folders_of_patients_are_cases_as_in_training(tmp_path: Path):
    for patient in ("p0", "p1"):
        for role in ("t1", "flair"):
            save(tmp_path / patient / f"{patient}_{role}.nii.gz", make_image(0))
        save(tmp_path / patient / f"{patient}_seg.nii.gz", make_mask(0))
    dataset = open_dataset(tmp_path)
    cases = find_inference_cases([tmp_path], dataset.channels, numbered_files=True)
    assert [(case.name, case.images) for case in cases] == [(case.name, case.images) for case in dataset.cases]
    (tmp_path / "p1" / "p1_t1.nii.gz").unlink()
    with pytest.raises(DataError, match=r"p1: lacks t1; it holds p1_flair\.nii\.gz"):
        find_inference_cases([tmp_path], dataset.channels)
    assert len(find_inference_cases([tmp_path], dataset.channels, "allow")) == 2


def test_patient_folders_of_one_channel_leave_masks_out(tmp_path: Path):
    for patient in ("p0", "p1"):
        save(tmp_path / patient / "img.nii.gz", make_image(0))
        save(tmp_path / patient / "mask.nii.gz", make_mask(0))
    cases = find_inference_cases([tmp_path], ["img"], numbered_files=False)
    assert [(case.name, case.images[0].name) for case in cases] == [("p0", "img.nii.gz"), ("p1", "img.nii.gz")]
