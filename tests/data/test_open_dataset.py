"""Dataset layouts, and error messages for datasets that cannot be opened."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_files import make_image, make_mask, save

import dimlift.data
from dimlift.data.datasets.open_dataset import LAYOUTS, open_dataset
from dimlift.errors import DataError, UnknownNameError


def test_open_dataset_reads_nnunet(nnunet_folder):
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


def test_open_dataset_reads_decathlon(tmp_path: Path):
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


def test_open_dataset_reads_image_label_folders(plain_folder):
    dataset = open_dataset(plain_folder(cases=3, classes=2))
    assert dataset.labels == {"1": 1, "2": 2}
    assert dataset.channels == ("image",)
    assert len(dataset.cases) == 3


def test_open_dataset_skips_hidden_files(plain_folder):
    root = plain_folder(cases=2)
    (root / "images" / "._case_0.nii.gz").write_bytes(b"macOS")
    assert len(open_dataset(root).cases) == 2


def test_open_dataset_reads_csv_of_masks(tmp_path: Path):
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
    ("cells", "task", "labels", "expected"),
    [
        (["sick", "well", "sick"], "segmentation", {"sick": 0, "well": 1}, [0, 1, 0]),
        (["10", "2", "2"], "classification", {"2": 0, "10": 1}, [1, 0, 0]),
        (["1.5", "2", ""], "regression", {}, [1.5, 2.0, None]),
    ],
)
def test_open_dataset_reads_csv_of_classes_or_numbers(tmp_path: Path, cells, task, labels, expected):
    table = tmp_path / "cases.csv"
    rows = [f"{index}.nii.gz,{cell}" for index, cell in enumerate(cells)]
    table.write_text("\n".join(["Image, Label", *rows]))
    dataset = open_dataset(table, task=task)
    assert dataset.labels == labels
    assert [case.label for case in dataset.cases] == expected
    assert dataset.task == ("classification" if task == "segmentation" else task)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("imag,label\na.nii.gz,1", "'imag' is similar"),
        ("image,label\n", "has no rows"),
        ("image,label\n,1", "line 2"),
        ("image,label\na.nii.gz,1\na.nii.gz,0", "column name"),
    ],
)
def test_open_dataset_rejects_invalid_csv(tmp_path: Path, content, message):
    table = tmp_path / "cases.csv"
    table.write_text(content)
    with pytest.raises(DataError, match=message):
        open_dataset(table)


def test_open_dataset_requires_numbers_for_regression(tmp_path: Path):
    table = tmp_path / "cases.csv"
    table.write_text("image,label\na.nii.gz,high")
    with pytest.raises(DataError, match="'high' in line 2"):
        open_dataset(table, task="regression")


def test_open_dataset_lists_layouts_for_empty_folder(tmp_path: Path):
    with pytest.raises(DataError, match=r"empty folder; .*imagesTr.*CSV|empty folder; .*CSV.*imagesTr"):
        open_dataset(tmp_path)


def test_open_dataset_rejects_unknown_layout_and_task(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match="no known layout"):
        open_dataset(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        open_dataset(tmp_path / "absent")
    with pytest.raises(UnknownNameError, match=", ".join(sorted(["auto", *LAYOUTS]))):
        open_dataset(tmp_path, layout="xnat")
    with pytest.raises(UnknownNameError, match="regression"):
        open_dataset(tmp_path, task="segmentate")  # type: ignore[arg-type]


def test_open_dataset_rejects_layout_without_images(tmp_path: Path):
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
        ({"labels": {"background": 0, "a": "one"}}, "an integer is expected"),
        ({"labels": {"background": 0, "a": 1, "b": 1}}, "with the same number"),
    ],
)
def test_open_dataset_rejects_invalid_dataset_json(nnunet_folder, change, message):
    root = nnunet_folder()
    content = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(DataError, match=message):
        open_dataset(root)


def test_open_dataset_reports_line_of_invalid_json(nnunet_folder):
    root = nnunet_folder()
    (root / "dataset.json").write_text('{"labels": \n oops')
    with pytest.raises(DataError, match=r"dataset\.json: cannot be read: .*line 2"):
        open_dataset(root)


def test_manifest_hash_depends_on_content_only(nnunet_folder, tmp_path: Path):
    root = nnunet_folder()
    first = open_dataset(root).manifest_hash()
    assert open_dataset(root).manifest_hash() == first
    moved = root.rename(tmp_path / "elsewhere")
    assert open_dataset(moved).manifest_hash() == first
    save(moved / "labelsTr" / "case_1.nii.gz", make_mask(77))
    assert open_dataset(moved).manifest_hash() != first


def test_open_dataset_imports_no_torch(tmp_path: Path):
    code = (
        "import sys, dimlift.data.datasets.open_dataset, dimlift.data.quality.check_dataset; "
        "import dimlift.data.preprocessing.preprocessing, dimlift.data.datasets.splits; "
        "sys.exit('torch' in sys.modules or 'monai' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_open_dataset_prefers_listed_files_over_channel_numbers(tmp_path: Path):
    """If dataset.json lists scan_0001.nii.gz, it is a case and not the second channel of the case `scan`."""
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


def test_open_dataset_detects_point_clouds_unless_there_is_a_volume(tmp_path: Path):
    for number in range(4):
        label = ("chair", "lamp")[number % 2]
        (tmp_path / label).mkdir(exist_ok=True)
        np.save(tmp_path / label / f"{number}.npy", np.random.default_rng(number).normal(size=(9, 3)))
    dataset = open_dataset(tmp_path)
    assert (dataset.modality, dataset.task, dataset.labels) == (
        "point_clouds",
        "classification",
        {"chair": 0, "lamp": 1},
    )
    for number in range(4):
        save(tmp_path / ("chair", "lamp")[number % 2] / f"{number}.nii.gz", make_image(number))
    volumes = open_dataset(tmp_path, task="classification")
    assert (volumes.modality, len(volumes.cases)) == ("volumes", 4)
    assert open_dataset(tmp_path, "point_clouds").modality == "point_clouds"
    with pytest.raises(DataError, match="skip_corrupt applies to point clouds only"):
        open_dataset(tmp_path, skip_corrupt=True)


def test_open_dataset_distinguishes_tables_by_their_columns(tmp_path: Path):
    for column, suffix in (("image", "nii.gz"), ("cloud", "npy")):
        (tmp_path / f"{column}.csv").write_text(f"{column},label\na.{suffix},x\nb.{suffix},y\n")
    opened = [open_dataset(tmp_path / f"{column}.csv", task="classification") for column in ("image", "cloud")]
    assert [dataset.modality for dataset in opened] == ["volumes", "point_clouds"]


def test_data_exports_its_public_names():
    assert dimlift.data.open_dataset is open_dataset
    assert {"Case", "PatchSampler", "read_volume", "write_labels"} <= set(dimlift.data.__all__)
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        dimlift.data.absent  # noqa: B018
