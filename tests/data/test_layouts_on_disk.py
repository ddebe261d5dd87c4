"""Every layout gives the same kind of dataset; what cannot be understood is refused, with the way out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from small_files import make_image, make_mask, save

from dimlift.data.datasets.open_dataset import LAYOUTS, open_dataset
from dimlift.errors import DataError, UnknownName


def test_nnunet(nnunet_folder):
    root = nnunet_folder(cases=2, channels=("T1", "T2"), labels={"background": 0, "a": 1, "b": 2, "ignore": 3})
    save(root / "imagesTs" / "case_9_0000.nii.gz", make_image(0))
    save(root / "imagesTs" / "case_9_0001.nii.gz", make_image(0))
    dataset = open_dataset(root)
    assert dataset.channels == ("T1", "T2")
    assert dataset.labels == {"a": 1, "b": 2}
    assert dataset.ignore == 3
    assert [case.name for case in dataset.cases] == ["case_0", "case_1"]
    assert [path.name for path in dataset.cases[0].images] == ["case_0_0000.nii.gz", "case_0_0001.nii.gz"]
    assert dataset.cases[0].label == root / "labelsTr" / "case_0.nii.gz"
    assert [case.name for case in dataset.test_cases] == ["case_9"]
    assert dataset.test_cases[0].label is None


def test_decathlon(tmp_path: Path):
    for index in range(2):
        save(tmp_path / "imagesTr" / f"h_{index}.nii.gz", make_image(index))
        save(tmp_path / "labelsTr" / f"h_{index}.nii.gz", make_mask(index))
    save(tmp_path / "imagesTs" / "h_7.nii.gz", make_image(7))
    description = {
        "name": "Hippocampus",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
        "training": [{"image": f"./imagesTr/h_{i}.nii.gz", "label": f"./labelsTr/h_{i}.nii.gz"} for i in range(2)],
        "test": ["./imagesTs/h_7.nii.gz"],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    dataset = open_dataset(tmp_path)
    assert dataset.name == "Hippocampus"
    assert dataset.labels == {"Anterior": 1, "Posterior": 2}
    assert dataset.channels == ("MRI",)
    assert [case.name for case in dataset.cases] == ["h_0", "h_1"]
    assert all(case.images[0].is_file() for case in (*dataset.cases, *dataset.test_cases))


def test_plain_folders_find_their_labels_in_the_masks(plain_folder):
    dataset = open_dataset(plain_folder(cases=3, classes=2))
    assert dataset.labels == {"1": 1, "2": 2}
    assert dataset.channels == ("image",)
    assert len(dataset.cases) == 3


def test_hidden_twins_are_no_cases(plain_folder):
    root = plain_folder(cases=2)
    (root / "images" / "._case_0.nii.gz").write_bytes(b"macOS")
    assert len(open_dataset(root).cases) == 2


def test_a_table_of_masks(tmp_path: Path):
    for patient in "pq":
        for visit in "12":
            save(tmp_path / patient / visit / "t1.nii.gz", make_image(0))
            save(tmp_path / patient / visit / "t2.nii.gz", make_image(1))
            save(tmp_path / patient / visit / "seg.nii.gz", make_mask(0))
    rows = [f"{p}/{v}/t1.nii.gz,{p}/{v}/t2.nii.gz,{p}/{v}/seg.nii.gz,{p}" for p in "pq" for v in "12"]
    table = tmp_path / "cases.csv"
    table.write_text("\n".join(["image,image2,label,group", *rows]))
    dataset = open_dataset(table)
    assert dataset.task == "segmentation"
    assert dataset.labels == {"1": 1, "2": 2}
    assert [case.name for case in dataset.cases] == ["p_1_t1", "p_2_t1", "q_1_t1", "q_2_t1"]
    assert [case.group for case in dataset.cases] == ["p", "p", "q", "q"]
    assert [path.name for path in dataset.cases[0].images] == ["t1.nii.gz", "t2.nii.gz"]


@pytest.mark.parametrize(
    ("answers", "task", "labels", "read"),
    [
        (["sick", "well", "sick"], "segmentation", {"sick": 0, "well": 1}, [0, 1, 0]),
        (["10", "2", "2"], "classification", {"2": 0, "10": 1}, [1, 0, 0]),
        (["1.5", "2", ""], "regression", {}, [1.5, 2.0, None]),
    ],
)
def test_a_table_of_classes_or_numbers(tmp_path: Path, answers, task, labels, read):
    table = tmp_path / "cases.csv"
    rows = [f"{index}.nii.gz,{answer}" for index, answer in enumerate(answers)]
    table.write_text("\n".join(["Image, Label", *rows]))
    dataset = open_dataset(table, task=task)
    assert dataset.labels == labels
    assert [case.label for case in dataset.cases] == read
    assert dataset.task == ("classification" if task == "segmentation" else task)


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        ("imag,label\na.nii.gz,1", "is 'imag' meant"),
        ("image,label\n", "has no rows"),
        ("image,label\n,1", "line 2"),
        ("image,label\na.nii.gz,1\na.nii.gz,0", "column name"),
    ],
)
def test_tables_that_cannot_be_understood(tmp_path: Path, content, remedy):
    table = tmp_path / "cases.csv"
    table.write_text(content)
    with pytest.raises(DataError, match=remedy):
        open_dataset(table)


def test_regression_wants_numbers(tmp_path: Path):
    table = tmp_path / "cases.csv"
    table.write_text("image,label\na.nii.gz,high")
    with pytest.raises(DataError, match="'high' in line 2"):
        open_dataset(table, task="regression")


def test_an_empty_folder_names_the_layouts(tmp_path: Path):
    with pytest.raises(DataError, match=r"empty folder; .*imagesTr.*CSV|empty folder; .*CSV.*imagesTr"):
        open_dataset(tmp_path)


def test_a_folder_of_something_else(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match="no known layout"):
        open_dataset(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        open_dataset(tmp_path / "absent")
    with pytest.raises(UnknownName, match=", ".join(sorted(["auto", *LAYOUTS]))):
        open_dataset(tmp_path, layout="xnat")
    with pytest.raises(UnknownName, match="regression"):
        open_dataset(tmp_path, task="segmentate")  # type: ignore[arg-type]


def test_a_layout_asked_for_that_holds_no_image(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match="holds no image"):
        open_dataset(tmp_path, layout="folders")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channel_names": {}}, "channel_names"),
        ({"channel_names": {"first": "T1"}}, "first"),
        ({"labels": {}}, 'no "labels"'),
        ({"labels": {"background": 0, "whole": [1, 2]}}, "region 'whole'"),
        ({"labels": {"background": 0, "a": "one"}}, "whole number"),
        ({"labels": {"background": 0, "a": 1, "b": 1}}, "one number to several"),
    ],
)
def test_descriptions_that_cannot_be_understood(nnunet_folder, change, message):
    root = nnunet_folder()
    content = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(DataError, match=message):
        open_dataset(root)


def test_broken_json_names_the_line(nnunet_folder):
    root = nnunet_folder()
    (root / "dataset.json").write_text('{"labels": \n oops')
    with pytest.raises(DataError, match=r"dataset\.json: cannot be read: .*line 2"):
        open_dataset(root)


def test_the_manifest_knows_content_and_groups_but_not_the_place(nnunet_folder, tmp_path: Path):
    root = nnunet_folder()
    first = open_dataset(root).manifest_hash()
    assert open_dataset(root).manifest_hash() == first
    moved = root.rename(tmp_path / "elsewhere")
    assert open_dataset(moved).manifest_hash() == first
    save(moved / "labelsTr" / "case_1.nii.gz", make_mask(77))
    assert open_dataset(moved).manifest_hash() != first


def test_nothing_heavy_is_imported(tmp_path: Path):
    code = (
        "import sys, dimlift.data.datasets.open_dataset, dimlift.data.quality.check_dataset, dimlift.data.preprocessing.preprocessing, dimlift.data.datasets.splits;"
        "sys.exit('torch' in sys.modules or 'monai' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_listed_files_win_over_numbers_in_their_names(tmp_path: Path):
    """scan_0001.nii.gz is a case of its own where dataset.json lists it, not the second channel of a case `scan`."""
    for index in range(2):
        save(tmp_path / "imagesTr" / f"scan_{index:04d}.nii.gz", make_image(index))
        save(tmp_path / "labelsTr" / f"scan_{index:04d}.nii.gz", make_mask(index))
    names = [f"scan_{index:04d}.nii.gz" for index in range(2)]
    description = {
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "a", "2": "b"},
        "training": [{"image": f"imagesTr/{name}", "label": f"labelsTr/{name}"} for name in names],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    assert [case.name for case in open_dataset(tmp_path).cases] == ["scan_0000", "scan_0001"]
