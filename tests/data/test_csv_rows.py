"""Tables as spreadsheets and Windows write them: read where it is unambiguous, else refused with the true cause."""

from pathlib import Path

import pytest
from small_files import make_image, make_mask, save

from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.errors import DataError

ROWS = [["image", "label", "group"], *[[f"d/c{n}.nii.gz", f"m/c{n}.nii.gz", f"g{n}"] for n in range(3)]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        save(tmp_path / "d" / f"c{number}.nii.gz", make_image(number))
        save(tmp_path / "m" / f"c{number}.nii.gz", make_mask(number))
    return tmp_path


def table(folder: Path, rows: list[list[str]], separator: str = ",", start: str = "", end: str = "\n") -> Path:
    text = start + end.join(separator.join(row) for row in rows) + end
    (folder / "t.csv").write_bytes(text.encode())
    return folder / "t.csv"


@pytest.mark.parametrize(
    ("separator", "start", "end"),
    [(",", "", "\n"), (";", "", "\n"), ("\t", "\ufeff", "\r\n"), (";", "sep=;\r\n", "\r\n"), ("|", "", "\n\n")],
)
def test_separators_and_line_ends(separator, start, end, folder):
    dataset = open_dataset(table(folder, ROWS, separator, start, end))
    assert [case.name for case in dataset.cases] == ["c0", "c1", "c2"]
    assert [case.group for case in dataset.cases] == ["g0", "g1", "g2"]
    assert all(case.images[0].is_file() and case.label.is_file() for case in dataset.cases)


def test_windows_paths(folder):
    rows = [[cell.replace("/", "\\") for cell in row] for row in ROWS]
    dataset = open_dataset(table(folder, rows))
    assert [case.name for case in dataset.cases] == ["c0", "c1", "c2"]
    assert all(case.images[0].is_file() and case.label.is_file() for case in dataset.cases)


@pytest.mark.parametrize("path", ["C:\\data\\a.nii.gz", "\\\\server\\share\\a.nii.gz", "D:/a.nii.gz"])
def test_paths_of_a_windows_drive_are_refused(path, folder):
    with pytest.raises(DataError, match=r"has the Windows path .*relative to the table"):
        open_dataset(table(folder, [["image", "label"], [path, "m/c0.nii.gz"]]))


def test_a_file_may_have_a_backslash_in_its_name(folder):
    save(folder / "a\\b.nii.gz", make_image(0))
    dataset = open_dataset(table(folder, [["image", "label", "name"], ["a\\b.nii.gz", "m/c0.nii.gz", "x"]]))
    assert dataset.cases[0].images[0].is_file()


def test_unquoted_separators_are_named(folder):
    with pytest.raises(DataError, match=r"4 cells in line 2, but 3 columns .*commas.*quotation marks"):
        open_dataset(table(folder, [ROWS[0], ["a", "b.nii.gz", *ROWS[1][1:]]]))


def test_repeated_columns_are_named(folder):
    with pytest.raises(DataError, match="two columns 'image'"):
        open_dataset(table(folder, [["image", "image", "label"], ["a.nii.gz", "b.nii.gz", "c.nii.gz"]]))


def test_decimal_commas(folder):
    rows = [["image", "label"], *[[f"d/c{n}.nii.gz", f"{n},5"] for n in range(3)]]
    dataset = open_dataset(table(folder, rows, ";"))
    assert (dataset.task, [case.label for case in dataset.cases]) == ("regression", [0.5, 1.5, 2.5])


@pytest.mark.parametrize(
    ("cells", "task"),
    [
        (["a", "b", "a"], "classification"),
        (["0", "1", "1"], "classification"),
        (["1", "2", "3", "1", "2", "3"], "classification"),
        (["34", "51", "62"], "regression"),
        (["0.5", "1", "1"], "regression"),
    ],
)
def test_task_of_a_table_without_masks(cells, task, folder):
    rows = [["image", "label"], *[[f"{n}.nii.gz", cell] for n, cell in enumerate(cells)]]
    assert open_dataset(table(folder, rows)).task == task


def test_dataset_json_with_byte_order_mark(folder):
    (folder / "d").rename(folder / "images")
    (folder / "m").rename(folder / "labels")
    text = '{"channel_names": {"0": "CT"}, "labels": {"background": 0, "a": 1, "b": 2}}'
    (folder / "dataset.json").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert open_dataset(folder).channels == ("CT",)


def test_datalist_with_windows_paths(folder):
    text = '{"training": [{"image": "d\\\\c0.nii.gz", "label": "m\\\\c0.nii.gz"}]}'
    (folder / "list.json").write_text(text)
    (case,) = open_dataset(folder / "list.json").cases
    assert case.images[0].is_file()
    assert case.label.is_file()
