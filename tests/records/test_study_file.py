"""study.json: what is written comes back; what is missing has a default; what is wrong is named."""

import json

import pytest

from dimlift.errors import DataError, UnknownName
from dimlift.records.study import Arm, CasePaths, Dataset, Study

SMALLEST = {"schema": 1, "title": "t", "task": "segmentation", "reference": "a", "planned": 1, "arms": {"a": {}}}


def test_round_trip(tmp_path):
    study = Study(
        title="Does it pay?",
        task="segmentation",
        reference="unet",
        arms={"unet": Arm("U-Net", "From scratch.", None, 7), "lifted": Arm(certificate={"summary": "s", "n": [1]})},
        planned=6,
        notes=["Simulated."],
        dataset=Dataset("heads", 12, {"grey": 1}),
        budget={"seconds": 60},
        cases={"s1": CasePaths("images/s1.nii.gz", "labels/s1.nii.gz", "patient 1")},
    )
    study.save(tmp_path)
    assert Study.load(tmp_path) == study


def test_optional_keys_may_be_missing_and_later_ones_are_ignored(tmp_path):
    content = SMALLEST | {"later": 1, "arms": {"a": {"title": "A", "later": 2}}}
    (tmp_path / "study.json").write_text(json.dumps(content))
    assert Study.load(tmp_path) == Study("t", "segmentation", "a", {"a": Arm("A")}, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 99}, "schema 99.*reads 1"),
        ({"arms": None}, "does not describe a study"),
        ({"arms": {"a": {}}, "dataset": 3}, "does not describe a study"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, change, message):
    (tmp_path / "study.json").write_text(json.dumps(SMALLEST | change))
    with pytest.raises(DataError, match=message):
        Study.load(tmp_path)


def test_a_folder_without_a_study_says_which_folder_is_wanted(tmp_path):
    with pytest.raises(DataError, match="compare --out"):
        Study.load(tmp_path)
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(DataError, match="does not describe a study"):
        Study.load(tmp_path)


def test_the_reference_must_be_an_arm():
    with pytest.raises(UnknownName, match="reference arm 'unte'; choose one of: lifted, unet"):
        Study("t", "segmentation", "unte", {"unet": Arm(), "lifted": Arm()}, 1)
