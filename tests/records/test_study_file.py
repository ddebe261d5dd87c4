"""study.json: round trip, defaults of missing keys, and errors for invalid files."""

import json

import pytest

from dimlift.errors import DataError, UnknownNameError
from dimlift.records.study import CasePaths, Study, StudyArm, StudyDataset

SMALLEST = {"schema": 1, "title": "t", "task": "segmentation", "reference": "a", "planned": 1, "arms": {"a": {}}}


def test_study_round_trip(tmp_path):
    study = Study(
        title="Does it pay?",
        task="segmentation",
        reference="unet",
        arms={
            "unet": StudyArm("U-Net", "From scratch.", None, 7),
            "lifted": StudyArm(certificate={"summary": "s", "n": [1]}),
        },
        planned=6,
        notes=["Simulated."],
        dataset=StudyDataset("heads", 12, {"grey": 1}),
        budget={"seconds": 60},
        cases={"s1": CasePaths("images/s1.nii.gz", "labels/s1.nii.gz", "patient 1")},
        train_fractions=[1.0],
        train_counts=[1, 8],
    )
    study.save(tmp_path)
    assert Study.load(tmp_path) == study
    assert [str(size) for size in study.train_sizes] == ["1 case", "8 cases", "all"]


def test_load_study_fills_defaults_and_ignores_unknown_keys(tmp_path):
    content = SMALLEST | {"unknown": 1, "arms": {"a": {"title": "A", "unknown": 2}}}
    (tmp_path / "study.json").write_text(json.dumps(content))
    assert Study.load(tmp_path) == Study("t", "segmentation", "a", {"a": StudyArm("A")}, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 99}, "schema 99.*reads 1"),
        ({"arms": None}, "does not describe a study"),
        ({"arms": {"a": {}}, "dataset": 3}, "does not describe a study"),
    ],
)
def test_load_study_names_invalid_file(tmp_path, change, message):
    (tmp_path / "study.json").write_text(json.dumps(SMALLEST | change))
    with pytest.raises(DataError, match=message):
        Study.load(tmp_path)


def test_load_study_without_file_states_expected_folder(tmp_path):
    with pytest.raises(DataError, match="compare --out"):
        Study.load(tmp_path)
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(DataError, match="does not describe a study"):
        Study.load(tmp_path)


def test_study_requires_known_reference_arm():
    with pytest.raises(UnknownNameError, match="reference arm 'unte'; choose one of: lifted, unet"):
        Study("t", "segmentation", "unte", {"unet": StudyArm(), "lifted": StudyArm()}, 1)
