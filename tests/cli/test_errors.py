"""Invalid input: exit code 2 and one message with what was found, what is expected and a fix."""

import gzip
import json

import nibabel
import numpy as np
import pytest
from command_line import QUICK, SHAPE, head, run_cli, run_rejected, write_image


def truncate(root):
    path = root / "imagesTr" / "case1_0000.nii.gz"
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    return ["case1_0000.nii.gz"]


def flip_bit(root):
    """Change a voxel of a valid stream: only the checksum at its end detects it."""
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


DAMAGES = [truncate, flip_bit, not_a_number, another_grid, another_shape, unlisted_label]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damaged_file_is_listed_by_check_and_rejected_by_train(dataset, tmp_path, damage):
    root = dataset()
    words = damage(root)
    listed = run_cli("check", root, "--json")
    assert listed.code == 2
    rows = json.loads(listed.out)["issues"]
    mine = [row for row in rows if row["level"] == "error"]
    assert len(mine) == 1, rows
    assert mine[0]["fix"]
    for word in words:
        assert word in " ".join(mine[0].values())

    message = run_rejected("train", root, *QUICK, "--out", tmp_path / "run")
    for word in words:
        assert word in message
    assert not (tmp_path / "run").exists()


def test_check_accepts_valid_dataset(dataset):
    result = run_cli("check", dataset())
    assert result.code == 0, result.out + result.err
    assert "no issues" in result.out


def test_check_lists_all_damaged_files(dataset):
    root = dataset()
    truncate(root)
    (root / "labelsTr" / "case2.nii.gz").write_bytes(b"not a NIfTI file")
    result = run_cli("check", root, "--json")
    errors = [row["file"] for row in json.loads(result.out)["issues"] if row["level"] == "error"]
    assert any("case1" in file for file in errors)
    assert any("case2" in file for file in errors)


def test_train_rejects_single_case(dataset, tmp_path):
    message = run_rejected("train", dataset(cases=1), *QUICK, "--out", tmp_path / "run")
    assert "1 " in message
    assert not (tmp_path / "run").exists()


def test_train_rejects_absent_class(dataset, tmp_path):
    root = dataset(labels={"background": 0, "bright": 1, "dim": 2, "unicorn": 3})
    message = run_rejected("train", root, *QUICK, "--out", tmp_path / "run")
    assert "unicorn" in message
    assert not (tmp_path / "run").exists()


def test_empty_folder_is_rejected(tmp_path):
    (tmp_path / "empty").mkdir()
    for message in (
        run_rejected("check", tmp_path / "empty"),
        run_rejected("train", tmp_path / "empty", *QUICK, "--out", tmp_path / "run"),
    ):
        assert "empty" in message
        assert "imagesTr" in message


def test_missing_folder_is_rejected(tmp_path):
    assert "nowhere" in run_rejected("check", tmp_path / "nowhere")


def test_lift_suggests_similar_network_names(tmp_path):
    message = run_rejected("lift", "timm:resnet81", "--out", tmp_path / "lifted")
    assert "resnet81" in message
    assert "resnet18" in message or "resnet101" in message
    assert not (tmp_path / "lifted").exists()


def test_lift_rejects_weights_of_another_network(tmp_path):
    import torch
    from safetensors.torch import save_file

    save_file({"conv1.weight": torch.zeros(64, 3, 7, 7), "unknown": torch.zeros(3)}, tmp_path / "other.safetensors")
    message = run_rejected(
        "lift", "timm:resnet10t", "--weights", tmp_path / "other.safetensors", "--out", tmp_path / "lifted"
    )
    assert "unknown" in message
    assert "other.safetensors" in message
    assert not (tmp_path / "lifted").exists()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("--kernel", "three"), "cubic"),
        (("--kernel", "0"), "kernel"),
        (("--inflation", "center"), "centre"),
        (("--depth-pool", "1;2"), "whole numbers"),
        (("--slice-pool", "median"), "mean"),
        (("--attention", "global"), "volume"),
    ],
)
def test_lift_rejects_invalid_plan(words, wanted):
    assert wanted in run_rejected("lift", "timm:resnet10t", *words)


def test_lift_does_not_download_without_permission():
    assert "--download" in run_rejected("lift", "timm:resnet18", "--pretrained")


def test_train_names_misspelt_key(dataset, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(f"dataset: {{path: {dataset()}}}\narm: {{method: unet}}\nbudget: {{step: 2}}\n")
    message = run_rejected("train", config, "--out", tmp_path / "run")
    assert "config.yaml" in message
    assert "budget.step" in message
    assert "'steps'" in message or "'budget.steps'" in message
    assert not (tmp_path / "run").exists()


def test_train_rejects_malformed_override(dataset, tmp_path):
    assert "key.sub=value" in run_rejected("train", dataset(), "budget.steps:2", "--out", tmp_path / "run")


def test_predict_rejects_folder_without_run(tmp_path):
    (tmp_path / "empty").mkdir()
    image = write_image(tmp_path / "scan.nii.gz", head(0)[0])
    message = run_rejected("predict", tmp_path / "empty", image, tmp_path / "out.nii.gz")
    assert "model.json" in message
    assert not (tmp_path / "out.nii.gz").exists()


def test_report_rejects_folder_without_study(tmp_path):
    assert "study.json" in run_rejected("report", tmp_path)


class TestWithARun:
    """Errors that need a trained run."""

    def test_train_rejects_folder_of_another_run(self, run):
        before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        message = run_rejected("train", run.parent / "data", *QUICK, "seed=1", "--out", run)
        assert str(run.name) in message
        assert "seed" in message
        assert "another folder" in message
        assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}

    def test_train_rejects_folder_with_foreign_files(self, run, tmp_path):
        (tmp_path / "weights").mkdir()
        (tmp_path / "weights" / "model.safetensors").write_text("foreign")
        message = run_rejected("train", run.parent / "data", *QUICK, "--out", tmp_path)
        assert "weights" in message
        assert "another folder" in message
        assert [path.name for path in tmp_path.rglob("*")] == ["weights", "model.safetensors"]

    def test_predict_rejects_wrong_number_of_channels(self, run, tmp_path):
        image = write_image(tmp_path / "rgb.nii.gz", np.stack([head(0)[0]] * 3, axis=-1))
        message = run_rejected("predict", run, image, tmp_path / "out.nii.gz")
        assert "rgb.nii.gz" in message
        assert "3" in message
        assert "1" in message
        assert not (tmp_path / "out.nii.gz").exists()

    def test_predict_rejects_damaged_image(self, run, tmp_path):
        image = write_image(tmp_path / "scan.nii.gz", head(0)[0])
        image.write_bytes(image.read_bytes()[:500])
        message = run_rejected("predict", run, image, tmp_path / "out.nii.gz")
        assert "scan.nii.gz" in message
        assert [path.name for path in tmp_path.iterdir()] == ["scan.nii.gz"]

    def test_predict_pads_small_volumes(self, run, tmp_path):
        image = write_image(tmp_path / "thin.nii.gz", head(0)[0][:5, :6, :3])
        result = run_cli("predict", run, image, tmp_path / "out.nii.gz")
        assert result.code == 0, result.err
        assert nibabel.load(tmp_path / "out.nii.gz").shape == (5, 6, 3)

    def test_predict_never_overwrites_input(self, run, tmp_path):
        image = write_image(tmp_path / "scan.nii.gz", head(0)[0])
        before = image.read_bytes()
        for output in (image, tmp_path):
            assert "overwrite" in run_rejected("predict", run, image, output)
        assert image.read_bytes() == before

    def test_predict_rejects_one_output_for_several_cases(self, run, tmp_path):
        message = run_rejected("predict", run, run.parent / "data" / "images", tmp_path / "out.nii.gz")
        assert "5 cases" in message
        assert "folder" in message
        assert not list(tmp_path.iterdir())

    def test_predict_rejects_missing_input(self, run, tmp_path):
        message = run_rejected("predict", run, tmp_path / "absent.nii.gz", tmp_path / "out.nii.gz")
        assert "absent.nii.gz" in message
