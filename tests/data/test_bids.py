"""BIDS: subjects are groups, masks are in derivatives, ambiguous files are refused."""

import json
from pathlib import Path

import pytest
from small_files import make_image, make_mask, save

from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.quality.check_dataset import check_dataset
from dimlift.errors import DataError


@pytest.fixture
def bids(tmp_path: Path) -> Path:
    root = tmp_path / "study"
    seed = 0
    for subject in ("01", "02", "03"):
        for session in ("a", "b"):
            visit = f"sub-{subject}_ses-{session}"
            folder = f"sub-{subject}/ses-{session}/anat"
            for suffix in ("T1w", "FLAIR"):
                seed += 1
                save(root / folder / f"{visit}_{suffix}.nii.gz", make_image(seed))
            save(root / "derivatives" / "manual" / folder / f"{visit}_space-T1w_dseg.nii.gz", make_mask(seed))
    (root / "dataset_description.json").write_text(json.dumps({"Name": "study", "BIDSVersion": "1.10.0"}))
    return root


def test_bids_visits_are_cases_and_subjects_are_groups(bids: Path):
    table = bids / "derivatives" / "manual" / "dseg.tsv"
    table.write_text("index\tname\n0\tbackground\n1\tlesion\n2\toedema\n")
    dataset = open_dataset(bids)
    assert [case.name for case in dataset.cases][:3] == ["sub-01_ses-a", "sub-01_ses-b", "sub-02_ses-a"]
    assert [case.group for case in dataset.cases][:3] == ["sub-01", "sub-01", "sub-02"]
    assert dataset.channels == ("FLAIR", "T1w")
    assert dataset.cases[0].images[1].name == "sub-01_ses-a_T1w.nii.gz"
    assert dataset.labels == {"lesion": 1, "oedema": 2}
    assert check_dataset(dataset) == []


def test_bids_without_table_names_labels_by_number(bids: Path):
    (bids / "sub-02" / "ses-a" / "anat" / "sub-02_ses-a_FLAIR.nii.gz").unlink()
    dataset = open_dataset(bids)
    assert dataset.channels == ("T1w",)
    assert dataset.labels == {"1": 1, "2": 2}


def test_bids_rejects_ambiguous_files(bids: Path):
    folder = bids / "sub-01" / "ses-a" / "anat"
    save(folder / "sub-01_ses-a_run-2_T1w.nii.gz", make_image(90))
    with pytest.raises(DataError, match=r"of the same visit and kind as .*CSV table"):
        open_dataset(bids)
    (folder / "sub-01_ses-a_run-2_T1w.nii.gz").unlink()
    mask = "sub-01/ses-a/anat/sub-01_ses-a_dseg.nii.gz"
    save(bids / "derivatives" / "other" / mask, make_mask(1))
    with pytest.raises(DataError, match=r"of the same visit and kind as .*CSV table"):
        open_dataset(bids)


def test_bids_reports_masks_without_images(bids: Path):
    save(bids / "derivatives" / "manual" / "sub-09" / "anat" / "sub-09_dseg.nii.gz", make_mask(1))
    (issue,) = check_dataset(open_dataset(bids))
    assert "belongs to no case" in issue.message
    for path in bids.rglob("*_dseg.nii.gz"):
        path.unlink()
    with pytest.raises(DataError, match="0 visits with a mask"):
        open_dataset(bids)
