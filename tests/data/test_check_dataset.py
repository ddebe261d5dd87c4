"""`check_dataset` reports every fault with its file and a fix, and nothing for a valid dataset."""

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from small_files import make_image, make_mask, save

from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.issue import raise_on_errors
from dimlift.data.quality.check_dataset import check_dataset
from dimlift.errors import DataError


def found(root: Path, **options) -> list[tuple[str, str, str]]:
    """Return (file name, level, message) of every issue."""
    issues = check_dataset(open_dataset(root), **options)
    assert all(issue.fix for issue in issues)
    return [(Path(issue.file).name, issue.level, issue.message) for issue in issues]


def test_check_dataset_accepts_valid_dataset(plain_folder, nnunet_folder):
    assert found(plain_folder()) == []
    assert found(nnunet_folder(channels=("T1", "T2"))) == []


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)


def put_nan(path: Path) -> None:
    image = make_image(1)
    image[0, 0, :2] = np.nan
    save(path, image)


@pytest.mark.parametrize(
    ("folder", "fault", "message"),
    [
        ("images", truncate, "is truncated|corrupt gzip stream"),
        ("labels", truncate, "is truncated|corrupt gzip stream"),
        ("images", flip, "CRC"),
        ("images", put_nan, "2 NaN"),
        ("labels", Path.unlink, "does not exist"),
        ("labels", lambda path: save(path, make_mask(1), np.diag([1, 1, 2.0, 1])), "voxels .* mm"),
        ("labels", lambda path: save(path, make_mask(1, (6, 7, 6))), "6 x 7 x 6 voxels"),
        ("labels", lambda path: save(path, make_mask(1) * 0.5), "not integers"),
        ("images", lambda path: save(path, make_image(1, (6, 7, 5, 2))), "2 channels; 1 are expected"),
        ("images", lambda path: path.write_bytes(gzip.compress(b"nonsense" * 100)), "not a NIfTI"),
    ],
)
def test_check_dataset_reports_one_error_per_fault(plain_folder, folder, fault, message):
    root = plain_folder()
    fault(root / folder / "case_1.nii.gz")
    errors = [entry for entry in found(root) if entry[1] == "error"]
    assert len(errors) == 1, errors
    assert errors[0][0] == "case_1.nii.gz"
    assert re.search(message, errors[0][2]), errors


def test_check_dataset_reports_unknown_labels(nnunet_folder):
    root = nnunet_folder()
    mask = make_mask(0)
    mask[0, 0, 0] = 9
    save(root / "labelsTr" / "case_0.nii.gz", mask)
    assert found(root) == [("case_0.nii.gz", "error", "holds labels outside the list [0, 1, 2]: 9 in 1 voxels")]


def test_check_dataset_reports_rare_labels(nnunet_folder):
    root = nnunet_folder(labels={"background": 0, "a": 1, "b": 2, "c": 3})
    for index in (1, 2):
        save(root / "labelsTr" / f"case_{index}.nii.gz", np.minimum(make_mask(index), 1))
    issues = found(root)
    assert issues[0][1:] == ("error", "the label 'c' (3) is in no training case")
    assert issues[1][1:] == ("warning", "the label 'b' (2) is in one case only")


def test_check_dataset_finds_duplicate_images(plain_folder):
    root = plain_folder()
    content = gzip.decompress((root / "images" / "case_0.nii.gz").read_bytes())
    (root / "images" / "case_3.nii.gz").write_bytes(gzip.compress(content, compresslevel=1))
    (issue,) = found(root)
    assert issue[:2] == ("case_3.nii.gz", "error")
    assert "same voxels as" in issue[2]
    assert "case_0.nii.gz" in issue[2]


def test_check_dataset_warns_of_duplicates_within_patient(tmp_path: Path):
    for index in range(4):
        save(tmp_path / f"{index}.nii.gz", make_image(index))
    table = tmp_path / "cases.csv"
    rows = [f"{index}.nii.gz,{index % 2},p{index // 2}" for index in range(4)]
    table.write_text("\n".join(["image,label,group", *rows]))
    assert found(table) == []
    save(tmp_path / "1.nii.gz", make_image(0))
    assert [entry[:2] for entry in found(table)] == [("1.nii.gz", "warning")]


def test_check_dataset_rejects_single_case(plain_folder):
    errors = [entry for entry in found(plain_folder(cases=1)) if entry[1] == "error"]
    assert len(errors) == 1
    assert "only one case" in errors[0][2]


def test_check_dataset_reports_unmatched_files(nnunet_folder):
    root = nnunet_folder(channels=("T1", "T2"))
    (root / "imagesTr" / "case_1_0001.nii.gz").unlink()
    save(root / "labelsTr" / "stray.nii.gz", make_mask(0))
    assert {(name, level) for name, level, _ in found(root)} == {
        ("case_1_0001.nii.gz", "error"),
        ("stray.nii.gz", "warning"),
    }


def test_check_dataset_warns_of_nan_under_policy(plain_folder):
    root = plain_folder()
    put_nan(root / "images" / "case_1.nii.gz")
    for policy in ("replace", "mask"):
        assert [entry[1] for entry in found(root, nan_policy=policy)] == ["warning"]


def test_check_dataset_warns_of_empty_masks_and_constant_images(plain_folder):
    root = plain_folder()
    save(root / "labels" / "case_1.nii.gz", np.zeros((6, 7, 5), np.uint8))
    save(root / "images" / "case_2.nii.gz", np.full((6, 7, 5), 4.0, np.float32))
    assert [(name, level) for name, level, _ in found(root)] == [
        ("case_1.nii.gz", "warning"),
        ("case_2.nii.gz", "warning"),
    ]


def test_check_dataset_result_is_independent_of_workers(plain_folder):
    root = plain_folder(cases=5)
    truncate(root / "images" / "case_1.nii.gz")
    truncate(root / "images" / "case_4.nii.gz")
    steps = []
    single = check_dataset(
        open_dataset(root), num_workers=1, on_progress=lambda done, total: steps.append((done, total))
    )
    assert steps == [(index, 5) for index in range(1, 6)]
    assert check_dataset(open_dataset(root), num_workers=4) == single
    assert [Path(issue.file).name for issue in single] == ["case_1.nii.gz", "case_4.nii.gz"]


def test_raise_on_errors_ignores_warnings(plain_folder):
    root = plain_folder(cases=14)
    dataset = open_dataset(root)
    raise_on_errors(check_dataset(dataset))
    for index in range(12):
        truncate(root / "images" / f"case_{index}.nii.gz")
    with pytest.raises(DataError, match="12 errors") as caught:
        raise_on_errors(check_dataset(dataset))
    assert "and 2 more; `dimlift check`" in str(caught.value)
    assert "copy it again" in str(caught.value)


def test_check_dataset_warns_of_outliers(plain_folder):
    root = plain_folder(cases=8)
    assert found(root) == []
    save(root / "images" / "case_2.nii.gz", make_image(2), np.diag([1, 1, 2.5, 1]))
    save(root / "labels" / "case_2.nii.gz", make_mask(2), np.diag([1, 1, 2.5, 1]))
    save(root / "images" / "case_5.nii.gz", make_image(5) + 1024)
    outliers = found(root)
    assert [(name, level) for name, level, _ in outliers] == [
        ("case_2.nii.gz", "warning"),
        ("case_5.nii.gz", "warning"),
    ]
    assert "2.5 x 1 x 1 mm (z, y, x); the dataset median is 1 x 1 x 1" in outliers[0][2]
    assert "usual in this dataset is 52" in outliers[1][2]


def test_check_dataset_reports_no_outliers_in_mixed_dataset(plain_folder):
    root = plain_folder(cases=8)
    for index in (1, 2):
        save(root / "images" / f"case_{index}.nii.gz", make_image(index) + 1024)
    assert found(root) == []


def test_check_dataset_reports_shared_files(tmp_path: Path):
    for index in range(3):
        save(tmp_path / f"{index}.nii.gz", make_image(index))
        save(tmp_path / f"m{index}.nii.gz", make_mask(index))
    table = tmp_path / "cases.csv"
    table.write_text("image,label,name\n0.nii.gz,m0.nii.gz,a\n1.nii.gz,m1.nii.gz,b\n0.nii.gz,m2.nii.gz,c\n")
    errors = [entry for entry in found(table) if entry[1] == "error"]
    assert [(name, message) for name, _, message in errors] == [("0.nii.gz", "belongs to 2 cases ('a' and 'c')")]


def test_open_dataset_rejects_equal_stems(plain_folder):
    root = plain_folder()
    save(root / "labels" / "case_1.nii", make_mask(2))
    with pytest.raises(DataError, match=r"case_1\.nii\.gz: has the same name as case_1\.nii .*; remove one"):
        open_dataset(root)


def test_check_dataset_reports_patient_in_both_sets(nnunet_folder):
    root = nnunet_folder()
    save(root / "imagesTs" / "case_1_0000.nii.gz", make_image(50))
    errors = [entry[2] for entry in found(root) if entry[1] == "error"]
    assert errors == [
        "has the patient 'case_1' in the training and the test cases",
        "has 2 cases with the name 'case_1'",
    ]
