"""`check` states what each file was read as, and `train` takes the same layout and task."""

import json

import nibabel as nib
import numpy as np
import pytest
from command_line import run_cli, run_rejected

from dimlift.config.sections import DatasetSection
from dimlift.errors import ConfigError
from dimlift.studies.defaults import train_config
from dimlift.studies.load_config import parse
from dimlift.studies.run_config import TrainConfig

PATTERNS = '{image: {T1: "{case}/one_*.nii.gz"}, label: "{case}/two_*.nii.gz"}'


def save(path, seed, mask=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    array = rng.integers(0, 2, (8, 8, 8)).astype(np.uint8) if mask else rng.normal(size=(8, 8, 8)).astype(np.float32)
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)


@pytest.fixture
def data(tmp_path):
    for number in range(4):
        save(tmp_path / "patients" / f"p{number}" / f"p{number}_t1.nii.gz", number)
        save(tmp_path / "patients" / f"p{number}" / f"p{number}_seg.nii.gz", number, mask=True)
        save(tmp_path / "classes" / ("chair", "table")[number % 2] / f"{number}.nii.gz", 10 + number)
        save(tmp_path / "odd" / f"p{number}" / "one_x.nii.gz", 20 + number)
        save(tmp_path / "odd" / f"p{number}" / "two_x.nii.gz", number, mask=True)
    rows = [f"classes/{('chair', 'table')[n % 2]}/{n}.nii.gz,{n / 4}" for n in range(4)]
    (tmp_path / "ages.csv").write_text("\n".join(["image,label", *rows]))
    return tmp_path


def test_check_prints_role_channel_patient_and_class(data):
    found = run_cli("check", data / "patients")
    assert found.code == 0, found.err
    lines = [line.split() for line in found.out.splitlines()]
    assert ["4", "image", "t1", "p0/p0_t1.nii.gz", "p0", "p0"] in lines
    assert ["4", "mask", "p0/p0_seg.nii.gz", "p0", "p0"] in lines
    assert "read as: patients, segmentation" in found.out
    lines = [line.split() for line in run_cli("check", data / "classes").out.splitlines()]
    assert ["4", "image", "image", "chair/0.nii.gz", "chair_0", "chair_0", "chair"] in lines


def test_the_example_is_the_first_case_with_an_error(data):
    (data / "patients" / "p2" / "p2_t1.nii.gz").write_bytes(b"nothing")
    found = run_cli("check", data / "patients")
    assert found.code == 2
    lines = [line.split() for line in found.out.splitlines()]
    assert ["4", "image", "t1", "p2/p2_t1.nii.gz", "p2", "p2"] in lines
    assert "p0" not in found.out


def test_check_json_lists_roles(data):
    content = json.loads(run_cli("check", data / "patients", "--json").out)
    assert (content["layout"], content["task"]) == ("patients", "segmentation")
    assert [(row["role"], row["channel"], row["count"], row["patient"]) for row in content["files"]] == [
        ("image", "t1", 4, "p0"), ("mask", "", 4, "p0")
    ]  # fmt: skip


def test_check_takes_patterns_as_text_and_as_file(data):
    assert "numbered" in run_rejected("check", data / "odd")
    (data / "layout.yaml").write_text(f"dataset:\n  layout: {PATTERNS}\n")
    for layout in (PATTERNS, data / "layout.yaml"):
        found = run_cli("check", data / "odd", "--layout", str(layout))
        assert found.code == 0, found.err
        assert "4 cases, 1 labels, no issues" in found.out
    assert "cannot be read" in run_rejected("check", data / "odd", "--layout", "absent.yaml")


def test_check_rejects_a_task_that_the_labels_do_not_have(data):
    assert "labels are those of a segmentation" in run_rejected("check", data / "patients", "--task", "classification")


@pytest.mark.parametrize(
    ("name", "task", "method"),
    [
        ("patients", "segmentation", "frozen_features"),
        ("classes", "classification", "slice_classifier"),
        ("ages.csv", "regression", "slice_classifier"),
    ],
)
def test_train_detects_the_task_and_a_method_for_it(name, task, method, data):
    config = train_config(data / name)
    assert (config.task, config.arm.method) == (task, method)
    assert json.loads(run_cli("check", data / name, "--json").out)["task"] == task


def test_another_method_keeps_no_options_of_the_default(data):
    config = train_config(data / "patients", ["arm.method=unet", "arm.widths=[4,8]"])
    assert (config.arm.method, config.arm.widths) == ("unet", (4, 8))


def test_train_takes_patterns(data):
    config = train_config(data / "odd", [f"dataset.layout={PATTERNS}"])
    assert config.task == "segmentation"
    assert config.dataset.layout["image"] == {"T1": "{case}/one_*.nii.gz"}


def test_invalid_patterns_of_a_configuration_name_the_key():
    raw = {"path": "data", "layout": {"imag": "{case}.nii.gz"}}
    with pytest.raises(ConfigError, match="layout has the key 'imag'; the keys are image and label"):
        parse(raw, DatasetSection)


def test_task_that_the_labels_do_not_have_is_refused_before_training(data, tmp_path):
    from dimlift.studies.config_checks import open_configured_dataset

    raw = {"dataset": {"path": str(data / "classes")}, "arm": {"method": "unet"}, "budget": {"steps": 1}}
    with pytest.raises(ConfigError, match=r"labels of a classification \(layout: classes\).*set task: classification"):
        open_configured_dataset(parse(raw, TrainConfig))
