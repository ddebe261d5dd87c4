"""Predictions made elsewhere: scored on the cases and with the metrics of the study, or rejected."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.errors import ConfigError, DataError
from dimlift.report.summary import summarise
from dimlift.studies.attempt import run_paths
from dimlift.studies.compare import compare, planned_runs
from dimlift.studies.load_config import parse
from dimlift.studies.run_config import StudyConfig
from dimlift.studies.score_external import score_external_run
from dimlift.studies.split import held_out_cases, read_splits, split_cases
from small_runs import study_config, train_raw


def only_external(data, folder, **changes):
    raw = train_raw(data)
    raw.pop("arm")
    raw |= {"arms": {"theirs": {"external": str(folder)}}, "seeds": [0], "baseline": False}
    return parse({**raw, **changes}, StudyConfig)


def score_predictions(config, data, out):
    (run,) = planned_runs(config)
    return score_external_run(run, run.arm, open_dataset(data), run_paths("external", out))


def dices(record):
    return {(s.case, s.class_): s.value for s in record.scores if s.metric == "dice"}


def test_score_external_gives_one_for_truth_and_zero_for_empty_masks(data, tmp_path):
    shutil.copytree(data / "labels", tmp_path / "theirs")
    perfect = dices(score_predictions(only_external(data, tmp_path / "theirs"), data, tmp_path / "one"))
    assert len(perfect) == 2 * 2
    assert set(perfect.values()) == {1.0}
    case = next(iter(perfect))[0]
    image = nib.load(tmp_path / "theirs" / f"{case}.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), tmp_path / "theirs" / f"{case}.nii.gz")
    found = dices(score_predictions(only_external(data, tmp_path / "theirs"), data, tmp_path / "other"))
    assert {key: value for key, value in found.items() if key[0] == case} == {(case, "1"): 0.0, (case, "2"): 0.0}


def test_score_external_rescores_changed_predictions(data, tmp_path):
    shutil.copytree(data / "labels", tmp_path / "theirs")
    config = only_external(data, tmp_path / "theirs")
    first = dices(score_predictions(config, data, tmp_path))
    file = tmp_path / "theirs" / f"{next(iter(first))[0]}.nii.gz"
    image = nib.load(file)
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), file)
    assert dices(score_predictions(config, data, tmp_path)) != first


def nnunet_results(data, root, folds=3):
    """Write a result folder in the layout of nnU-Net, with a split that differs from the study's own."""
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


def test_score_external_reads_nnunet_folds(data, tmp_path):
    splits = nnunet_results(data, tmp_path / "results")
    file = str(tmp_path / "results" / "splits_final.json")
    config = only_external(data, tmp_path / "results", split={"file": file}, folds=[0, 1, 2])
    records = compare(config, tmp_path / "study")
    assert [record.status for record in records] == ["finished"] * 3
    for record in records:
        assert {s.case for s in record.scores} == set(splits[record.fold]["val"])
        assert len(list((tmp_path / "study" / "predictions" / record.run_id).glob("*.nii.gz"))) == 2
    assert summarise(tmp_path / "study").rows[0].seconds is None  # unknown cost


def test_split_file_defines_training_and_test_cases(data, tmp_path):
    splits = nnunet_results(data, tmp_path)
    splits[0]["train"] = splits[0]["train"][:2]
    (tmp_path / "splits_final.json").write_text(json.dumps(splits))
    config = study_config(data, split={"file": str(tmp_path / "splits_final.json")})
    train, test = split_cases(open_dataset(data), planned_runs(config)[0])
    assert [case.name for case in test] == splits[0]["val"]
    assert sorted(case.name for case in train) == splits[0]["train"]


def test_split_file_content_changes_run_id(data, tmp_path):
    splits = nnunet_results(data, tmp_path)
    path = tmp_path / "splits_final.json"
    run_ids = set()
    for content in (splits, splits[::-1]):
        path.write_text(json.dumps(content))
        run_ids.add(planned_runs(study_config(data, split={"file": str(path)}))[0].run_id("data"))
    assert len(run_ids) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not a splits_final.json"),
        ('[{"train": ["case_0"]}]', "is not a splits_final.json"),
        ('[{"train": ["case_0"], "val": ["case_0"]}]', "trains and tests on case_0"),
        ('[{"train": ["case_0"], "val": ["nobody"]}]', "tests nobody, but"),
        ("[]", "has 0 folds"),
    ],
)
def test_invalid_split_file_is_rejected(data, tmp_path, content, message):
    path = tmp_path / "splits_final.json"
    path.write_text(content)
    config = study_config(data, split={"file": str(path)})
    with pytest.raises(DataError, match=message):
        held_out_cases(open_dataset(data), config.split, 0)


def test_score_external_rejects_test_cases_used_for_training(data, tmp_path):
    """Scores on training cases would be too high."""
    splits = nnunet_results(data, tmp_path / "results")
    names = [name for side in splits[0].values() for name in side]
    for name in names:
        shutil.copy(data / "labels" / f"{name}.nii.gz", tmp_path / "results" / "fold_0" / "validation")
    assert read_splits(tmp_path / "results" / "splits_final.json", 0)[0]
    with pytest.raises(DataError, match=r"trains fold 0 on .*; use split.file="):
        score_predictions(only_external(data, tmp_path / "results"), data, tmp_path)


def test_score_external_reports_missing_and_invalid_files(data, tmp_path):
    with pytest.raises(ConfigError, match="is not a folder"):
        score_predictions(only_external(data, tmp_path / "nowhere"), data, tmp_path)
    shutil.copytree(data / "labels", tmp_path / "theirs")
    config = only_external(data, tmp_path / "theirs")
    case = next(iter(dices(score_predictions(config, data, tmp_path))))[0]
    file = tmp_path / "theirs" / f"{case}.nii.gz"
    image = nib.load(file)
    nib.save(nib.Nifti1Image(np.full(image.shape, 7, np.uint8), image.affine), file)
    with pytest.raises(DataError, match="labels outside the list"):
        score_predictions(config, data, tmp_path)
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), np.uint8), image.affine), file)
    with pytest.raises(DataError, match="theirs"):
        score_predictions(config, data, tmp_path)
    file.unlink()
    with pytest.raises(DataError, match=f"no prediction for 1 of 2 test cases: {case}"):
        score_predictions(config, data, tmp_path)


def test_external_placeholders_define_number_of_runs(data):
    def runs(folder, **sizes):
        config = only_external(data, folder, seeds=[3, 4], **sizes)
        return [(run.seed, str(run.train_size)) for run in planned_runs(config)]

    assert runs("theirs", train_counts=[1, 2]) == [(3, "2 cases")]
    assert runs("theirs", train_counts=[2], train_fractions=[1]) == [(3, "all")]
    assert runs("theirs/{seed}", train_counts=[1, 2]) == [(3, "2 cases"), (4, "2 cases")]
    assert len(runs("theirs/{seed}/{train_count}", train_counts=[1, 2])) == 4
    assert runs("theirs/{train_fraction}", train_counts=[2], train_fractions=[1]) == [(3, "all")]


def test_segmentation_study_adds_baseline(data):
    lifted = {"lifted": {"method": "lifted"}}
    config = study_config(data, arms=lifted)
    assert list(config.arms) == ["unet", "lifted"]
    assert config.arms["unet"].method == "unet"
    assert list(study_config(data, arms=lifted, baseline=False).arms) == ["lifted"]
    assert list(study_config(data).arms) == ["small", "wide"]  # has one
    assert list(study_config(data, arms=lifted, task="classification").arms) == ["lifted"]
    again = StudyConfig.model_validate(config.model_dump(mode="json"))
    assert again == config
