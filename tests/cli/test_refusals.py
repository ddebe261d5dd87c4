"""Every bad input a user can bring: one message with what was found, what was wanted and the way out, exit code 2."""

import gzip
import json

import nibabel
import numpy as np
import pytest
from command_line import QUICK, SHAPE, ask, head, refused, write_image


def truncate(root):
    path = root / "imagesTr" / "case1_0000.nii.gz"
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    return ["case1_0000.nii.gz"]


def flip_a_bit(root):
    """Wrong voxel, valid header and stream: only the checksum at the end of the stream tells."""
    path = root / "imagesTr" / "case1_0000.nii.gz"
    plain = bytearray(gzip.decompress(path.read_bytes()))
    stored = bytearray(gzip.compress(bytes(plain), compresslevel=0))
    stored[len(stored) // 2] ^= 1
    path.write_bytes(bytes(stored))
    return ["case1_0000.nii.gz"]


def not_a_number(root):
    image, _ = head(1)
    image[3, 4, 5], image[4, 4, 5] = np.nan, np.inf
    write_image(root / "imagesTr" / "case1_0000.nii.gz", image)
    return ["case1_0000.nii.gz", "2", "nan_policy"]


def another_grid(root):
    _, label = head(1)
    write_image(root / "labelsTr" / "case1.nii.gz", label, np.diag([1.0, 1.0, 3.0, 1.0]))
    return ["case1.nii.gz", "mm"]


def another_shape(root):
    _, label = head(1)
    write_image(root / "labelsTr" / "case1.nii.gz", label[:-2])
    return ["case1.nii.gz", str(SHAPE[0]), str(SHAPE[0] - 2)]


def unlisted_label(root):
    _, label = head(1)
    label[0, 0, 0] = 7
    write_image(root / "labelsTr" / "case1.nii.gz", label)
    return ["case1.nii.gz", "7"]


FAULTS = [truncate, flip_a_bit, not_a_number, another_grid, another_shape, unlisted_label]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_bad_file_is_listed_by_check_and_refused_by_train(dataset, tmp_path, fault):
    root = dataset()
    words = fault(root)
    listed = ask("check", root, "--json")
    assert listed.code == 2
    rows = json.loads(listed.out)["findings"]
    mine = [row for row in rows if row["level"] == "error"]
    assert len(mine) == 1, rows
    assert mine[0]["remedy"]
    for word in words:
        assert word in " ".join(mine[0].values())

    told = refused("train", root, *QUICK, "--out", tmp_path / "run")
    for word in words:
        assert word in told
    assert not (tmp_path / "run").exists()


def test_an_untouched_data_set_has_nothing_wrong(dataset):
    answer = ask("check", dataset())
    assert answer.code == 0, answer.out + answer.err
    assert "nothing wrong" in answer.out


def test_all_bad_files_are_listed_at_once(dataset):
    root = dataset()
    truncate(root)
    (root / "labelsTr" / "case2.nii.gz").write_bytes(b"not a NIfTI file")
    answer = ask("check", root, "--json")
    errors = [row["file"] for row in json.loads(answer.out)["findings"] if row["level"] == "error"]
    assert any("case1" in file for file in errors)
    assert any("case2" in file for file in errors)


def test_one_case_only(dataset, tmp_path):
    told = refused("train", dataset(cases=1), *QUICK, "--out", tmp_path / "run")
    assert "1 " in told
    assert not (tmp_path / "run").exists()


def test_a_class_that_never_occurs(dataset, tmp_path):
    root = dataset(labels={"background": 0, "bright": 1, "dim": 2, "unicorn": 3})
    told = refused("train", root, *QUICK, "--out", tmp_path / "run")
    assert "unicorn" in told
    assert not (tmp_path / "run").exists()


def test_an_empty_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    for told in (
        refused("check", tmp_path / "empty"),
        refused("train", tmp_path / "empty", *QUICK, "--out", tmp_path / "run"),
    ):
        assert "empty" in told
        assert "imagesTr" in told


def test_a_folder_that_is_not_there(tmp_path):
    assert "nowhere" in refused("check", tmp_path / "nowhere")


def test_a_network_nobody_knows(tmp_path):
    told = refused("lift", "timm:resnet81", "--out", tmp_path / "lifted")
    assert "resnet81" in told
    assert "resnet18" in told or "resnet101" in told
    assert not (tmp_path / "lifted").exists()


def test_weights_of_another_network(tmp_path):
    import torch
    from safetensors.torch import save_file

    save_file({"conv1.weight": torch.zeros(64, 3, 7, 7), "stranger": torch.zeros(3)}, tmp_path / "other.safetensors")
    told = refused("lift", "timm:resnet10t", "--weights", tmp_path / "other.safetensors", "--out", tmp_path / "lifted")
    assert "stranger" in told
    assert "other.safetensors" in told
    assert not (tmp_path / "lifted").exists()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("--kernel", "three"), "cubic"),
        (("--kernel", "0"), "kernel"),
        (("--profile", "center"), "centre"),
        (("--reduce", "1;2"), "whole numbers"),
        (("--head", "median"), "mean"),
        (("--attention", "global"), "joint"),
    ],
)
def test_a_plan_that_makes_no_sense(words, wanted):
    assert wanted in refused("lift", "timm:resnet10t", *words)


def test_published_weights_are_not_fetched_unasked():
    assert "--download" in refused("lift", "timm:resnet18", "--pretrained")


def test_a_typing_error_in_a_configuration(dataset, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(f"dataset: {{path: {dataset()}}}\narm: {{method: unet}}\nbudget: {{step: 2}}\n")
    told = refused("train", config, "--out", tmp_path / "run")
    assert "config.yaml" in told
    assert "budget.step" in told
    assert "'steps'" in told or "'budget.steps'" in told
    assert not (tmp_path / "run").exists()


def test_an_override_that_is_none(dataset, tmp_path):
    assert "key.sub=value" in refused("train", dataset(), "budget.steps:2", "--out", tmp_path / "run")


def test_predicting_with_a_folder_that_holds_no_run(tmp_path):
    (tmp_path / "empty").mkdir()
    image = write_image(tmp_path / "scan.nii.gz", head(0)[0])
    told = refused("predict", tmp_path / "empty", image, tmp_path / "out.nii.gz")
    assert "model.json" in told
    assert not (tmp_path / "out.nii.gz").exists()


def test_reporting_on_a_folder_that_holds_no_study(tmp_path):
    assert "study.json" in refused("report", tmp_path)


class TestWithARun:
    """Faults that show only once something was trained."""

    def test_an_output_folder_that_holds_another_run(self, run):
        before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        told = refused("train", run.parent / "data", *QUICK, "seed=1", "--out", run)
        assert str(run.name) in told
        assert "seed" in told
        assert "another folder" in told
        assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}

    def test_an_output_folder_full_of_something_else(self, run, tmp_path):
        (tmp_path / "weights").mkdir()
        (tmp_path / "weights" / "model.safetensors").write_text("somebody's")
        told = refused("train", run.parent / "data", *QUICK, "--out", tmp_path)
        assert "weights" in told
        assert "another folder" in told
        assert [path.name for path in tmp_path.rglob("*")] == ["weights", "model.safetensors"]

    def test_too_many_channels(self, run, tmp_path):
        image = write_image(tmp_path / "rgb.nii.gz", np.stack([head(0)[0]] * 3, axis=-1))
        told = refused("predict", run, image, tmp_path / "out.nii.gz")
        assert "rgb.nii.gz" in told
        assert "3" in told
        assert "1" in told
        assert not (tmp_path / "out.nii.gz").exists()

    def test_a_damaged_image_to_predict(self, run, tmp_path):
        image = write_image(tmp_path / "scan.nii.gz", head(0)[0])
        image.write_bytes(image.read_bytes()[:500])
        told = refused("predict", run, image, tmp_path / "out.nii.gz")
        assert "scan.nii.gz" in told
        assert [path.name for path in tmp_path.iterdir()] == ["scan.nii.gz"]

    def test_a_volume_smaller_than_the_network_wants_is_padded(self, run, tmp_path):
        image = write_image(tmp_path / "thin.nii.gz", head(0)[0][:5, :6, :3])
        answer = ask("predict", run, image, tmp_path / "out.nii.gz")
        assert answer.code == 0, answer.err
        assert nibabel.load(tmp_path / "out.nii.gz").shape == (5, 6, 3)

    def test_an_output_that_would_overwrite_its_image(self, run, tmp_path):
        image = write_image(tmp_path / "scan.nii.gz", head(0)[0])
        before = image.read_bytes()
        for output in (image, tmp_path):
            assert "overwrite" in refused("predict", run, image, output)
        assert image.read_bytes() == before

    def test_one_output_file_for_several_images(self, run, tmp_path):
        told = refused("predict", run, run.parent / "data" / "images", tmp_path / "out.nii.gz")
        assert "5 cases" in told
        assert "folder" in told
        assert not list(tmp_path.iterdir())

    def test_nothing_to_predict(self, run, tmp_path):
        told = refused("predict", run, tmp_path / "absent.nii.gz", tmp_path / "out.nii.gz")
        assert "absent.nii.gz" in told
