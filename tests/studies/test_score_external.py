"""Predictions made elsewhere: scored on the study's own cases, by the study's own rules, or refused."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.errors import ConfigError, DataError
from dimlift.report.summary import summarise
from dimlift.studies.compare import compare, planned
from dimlift.studies.load_config import parse
from dimlift.studies.run_config import StudyConfig
from dimlift.studies.score_external import run_external
from dimlift.studies.split import held_out_cases, read_splits, split_cases
from methods.test_registry import places
from small_runs import study_config, train_raw


def only_external(data, folder, **changes):
    raw = train_raw(data)
    raw.pop("arm")
    raw |= {"arms": {"theirs": {"external": str(folder)}}, "seeds": [0], "baseline": False}
    return parse({**raw, **changes}, StudyConfig)


def scored(config, data, out):
    (cell,) = planned(config)
    return run_external(cell, cell.arm, open_dataset(data), places(out))


def dices(record):
    return {(s.case, s.class_): s.value for s in record.scores if s.metric == "dice"}


def test_a_folder_of_truths_scores_one_and_an_empty_map_scores_zero(data, tmp_path):
    shutil.copytree(data / "labels", tmp_path / "theirs")
    perfect = dices(scored(only_external(data, tmp_path / "theirs"), data, tmp_path / "one"))
    assert len(perfect) == 2 * 2
    assert set(perfect.values()) == {1.0}
    case = next(iter(perfect))[0]
    image = nib.load(tmp_path / "theirs" / f"{case}.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), tmp_path / "theirs" / f"{case}.nii.gz")
    found = dices(scored(only_external(data, tmp_path / "theirs"), data, tmp_path / "other"))
    assert {key: value for key, value in found.items() if key[0] == case} == {(case, "1"): 0.0, (case, "2"): 0.0}


def test_changed_predictions_are_scored_again(data, tmp_path):
    shutil.copytree(data / "labels", tmp_path / "theirs")
    config = only_external(data, tmp_path / "theirs")
    first = dices(scored(config, data, tmp_path))
    file = tmp_path / "theirs" / f"{next(iter(first))[0]}.nii.gz"
    image = nib.load(file)
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), file)
    assert dices(scored(config, data, tmp_path)) != first


def nnunet_results(data, root, folds=3):
    """A result folder as nnU-Net leaves it, whose split differs from the study's own."""
    names = sorted(path.name.removesuffix(".nii.gz") for path in (data / "labels").iterdir())
    splits = []
    for fold in range(folds):
        test = names[fold::folds]
        splits.append({"train": [name for name in names if name not in test], "val": test})
        validation = root / f"fold_{fold}" / "validation"
        validation.mkdir(parents=True)
        for name in test:
            shutil.copy(data / "labels" / f"{name}.nii.gz", validation)
        (validation / "summary.json").write_text("{}")
    (root / "splits_final.json").write_text(json.dumps(splits))
    return splits


def test_nnunet_folds_and_splits_are_read_as_they_are(data, tmp_path):
    splits = nnunet_results(data, tmp_path / "results")
    file = str(tmp_path / "results" / "splits_final.json")
    config = only_external(data, tmp_path / "results", split={"file": file}, folds=[0, 1, 2])
    records = compare(config, tmp_path / "study")
    assert [record.status for record in records] == ["finished"] * 3
    for record in records:
        assert {s.case for s in record.scores} == set(splits[record.fold]["val"])
        assert len(list((tmp_path / "study" / "predictions" / record.cell).glob("*.nii.gz"))) == 2
    assert summarise(tmp_path / "study").rows[0].seconds is None  # nobody knows what it cost


def test_a_study_trains_and_tests_on_the_split_of_the_file(data, tmp_path):
    splits = nnunet_results(data, tmp_path)
    splits[0]["train"] = splits[0]["train"][:2]
    (tmp_path / "splits_final.json").write_text(json.dumps(splits))
    config = study_config(data, split={"file": str(tmp_path / "splits_final.json")})
    train, test = split_cases(open_dataset(data), planned(config)[0])
    assert [case.name for case in test] == splits[0]["val"]
    assert sorted(case.name for case in train) == splits[0]["train"]


def test_another_split_is_another_cell(data, tmp_path):
    splits = nnunet_results(data, tmp_path)
    path = tmp_path / "splits_final.json"
    cells = set()
    for content in (splits, splits[::-1]):
        path.write_text(json.dumps(content))
        cells.add(planned(study_config(data, split={"file": str(path)}))[0].cell("data"))
    assert len(cells) == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is no splits_final.json"),
        ('[{"train": ["case_0"]}]', "is no splits_final.json"),
        ('[{"train": ["case_0"], "val": ["case_0"]}]', "trains and tests on case_0"),
        ('[{"train": ["case_0"], "val": ["nobody"]}]', "tests nobody"),
        ("[]", "has 0 folds"),
    ],
)
def test_a_split_that_cannot_be_used_is_refused(data, tmp_path, content, said):
    path = tmp_path / "splits_final.json"
    path.write_text(content)
    config = study_config(data, split={"file": str(path)})
    with pytest.raises(DataError, match=said):
        held_out_cases(open_dataset(data), config.split, 0)


def test_a_test_case_that_was_trained_on_is_refused(data, tmp_path):
    """Predictions of another fold's training cases would win every study."""
    splits = nnunet_results(data, tmp_path / "results")
    names = [name for side in splits[0].values() for name in side]
    for name in names:
        shutil.copy(data / "labels" / f"{name}.nii.gz", tmp_path / "results" / "fold_0" / "validation")
    assert read_splits(tmp_path / "results" / "splits_final.json", 0)[0]
    with pytest.raises(DataError, match=r"trained fold 0; use split.file="):
        scored(only_external(data, tmp_path / "results"), data, tmp_path)


def test_what_is_missing_or_wrong_is_named(data, tmp_path):
    with pytest.raises(ConfigError, match="is no folder"):
        scored(only_external(data, tmp_path / "nowhere"), data, tmp_path)
    shutil.copytree(data / "labels", tmp_path / "theirs")
    config = only_external(data, tmp_path / "theirs")
    case = next(iter(dices(scored(config, data, tmp_path))))[0]
    file = tmp_path / "theirs" / f"{case}.nii.gz"
    image = nib.load(file)
    nib.save(nib.Nifti1Image(np.full(image.shape, 7, np.uint8), image.affine), file)
    with pytest.raises(DataError, match="labels outside the list"):
        scored(config, data, tmp_path)
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), np.uint8), image.affine), file)
    with pytest.raises(DataError, match="theirs"):
        scored(config, data, tmp_path)
    file.unlink()
    with pytest.raises(DataError, match=f"no prediction of 1 of 2 test cases: {case}"):
        scored(config, data, tmp_path)


def test_one_folder_is_one_training_and_placeholders_are_several(data):
    def cells(folder):
        changes = {"seeds": [3, 4], "fractions": [2, 4]}
        return [(cell.seed, cell.fraction) for cell in planned(only_external(data, folder, **changes))]

    assert cells("theirs") == [(3, 4)]
    assert cells("theirs/{seed}") == [(3, 4), (4, 4)]
    assert len(cells("theirs/{seed}/{fraction}")) == 4


def test_every_segmentation_study_has_a_plain_unet_unless_told_otherwise(data):
    lifted = {"lifted": {"method": "lifted"}}
    config = study_config(data, arms=lifted)
    assert list(config.arms) == ["unet", "lifted"]
    assert config.arms["unet"].method == "unet"
    assert list(study_config(data, arms=lifted, baseline=False).arms) == ["lifted"]
    assert list(study_config(data).arms) == ["small", "wide"]  # has one
    assert list(study_config(data, arms=lifted, task="classification").arms) == ["lifted"]
    again = StudyConfig.model_validate(config.model_dump(mode="json"))
    assert again == config
