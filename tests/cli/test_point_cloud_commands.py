"""Point clouds on the command line: train, predict, compare, check."""

import csv
import json

import numpy as np
import pytest
from command_line import run_cli, run_rejected

from dimlift.data.io.point_cloud import POINT_CLOUD_READERS, read_point_cloud
from dimlift.data.io.point_cloud_writer import write_point_labels

ARM = "{method: point_unet, width_multiplier: 0.25, voxel_size: 0.2}"
TOKENS = "{method: point_transformer, num_groups: 8, group_size: 8, width: 24, depth: 1, heads: 2}"
COMMON = """
split: {folds: 3}
budget: {steps: %d}
training: {batch_size: 2, num_threads: 1, device: cpu, lr: 0.02, augment: false}
"""


def scan(path, seed):
    """Write a flat floor and a box above it."""
    rng = np.random.default_rng(seed)
    where = np.r_[np.c_[rng.uniform(-1, 1, (80, 2)), np.zeros(80)], rng.uniform((0, 0, 1), (0.5, 0.5, 1.5), (40, 3))]
    order = rng.permutation(120)
    return write_point_labels(
        path, where[order] + np.array([4e5, 5e6, 0]), np.repeat([4, 7], [80, 40])[order].astype(np.int32)
    )


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "scans"
    for number in range(5):
        scan(folder / f"scan{number}.ply", number)
    (folder / "dataset.json").write_text(json.dumps({"labels": {"floor": 4, "box": 7}}))
    return folder


@pytest.fixture(scope="module")
def run(scans, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    head = f"dataset: {{path: {scans}}}\npoint_clouds: {{normalise: centre, num_points: 64}}\narm: {ARM}\n"
    (folder / "train.yaml").write_text(head + COMMON % 25)
    result = run_cli("train", folder / "train.yaml", "--out", folder / "out")
    assert result.code == 0, result.err
    assert "mean_iou" in result.out
    return folder / "out"


def test_predict_keeps_the_order_of_points(run, scans, tmp_path):
    new = scan(tmp_path / "new.ply", 99)
    truth = read_point_cloud(new)
    np.savez(tmp_path / "bare.npz", points=truth.points)  # without labels
    for source in (new, tmp_path / "bare.npz"):
        for out in (tmp_path / "out.npz", tmp_path / "out.ply"):
            assert run_cli("predict", run, source, out).code == 0
            found = read_point_cloud(out)
            np.testing.assert_array_equal(found.points, truth.points)
            assert (found.labels == truth.labels).mean() > 0.95
    assert run_cli("predict", run, scans, tmp_path / "all", "--ensemble", run).code == 0
    assert sorted(file.name for file in (tmp_path / "all").glob("*.ply")) == [f"scan{n}.ply" for n in range(5)]


def test_predict_ensemble_reads_every_file_once(run, scans, tmp_path, monkeypatch):
    reads, read = [], POINT_CLOUD_READERS[".ply"]
    monkeypatch.setitem(POINT_CLOUD_READERS, ".ply", lambda path, *more: reads.append(path.name) or read(path, *more))
    assert run_cli("predict", run, scans, tmp_path / "out", "--ensemble", run).code == 0
    assert sorted(reads) == [f"scan{n}.ply" for n in range(5)]


def test_compare_writes_a_report(scans, tmp_path):
    arms = f"arms:\n  sparse: {ARM}\n  tokens: {TOKENS}\nseeds: [0, 1]\n"
    head = f"dataset: {{path: {scans}}}\npoint_clouds: {{normalise: centre, num_points: 64, up_axis: z}}\n"
    (tmp_path / "study.yaml").write_text(head + arms + COMMON % 4)
    result = run_cli("compare", tmp_path / "study.yaml", "--out", tmp_path / "study")
    assert result.code == 0, result.err
    records = [json.loads(path.read_text()) for path in (tmp_path / "study" / "records").glob("*.json")]
    assert sorted((record["arm"], record["seed"]) for record in records) == [
        ("sparse", 0), ("sparse", 1), ("tokens", 0), ("tokens", 1),
    ]  # fmt: skip
    page = (tmp_path / "study" / "report.html").read_text()
    assert "Difference" in page
    assert ">IoU<" in page
    assert page.count("data:image/png") >= 3 * 2  # truth and predictions of two clouds
    assert 'id="viewer"' not in page
    assert "outline of all true foreground" not in page
    assert "Dice" not in page
    assert "4 of 4 runs finished" in result.out
    assert "already finished" in run_cli("compare", tmp_path / "study.yaml", "--out", tmp_path / "study").err


def test_train_and_predict_classification(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(8):
        kind, flat = (("ball", 1.0), ("disc", 0.05))[number % 2]
        (tmp_path / "shapes" / kind).mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "shapes" / kind / f"{number}.npy", rng.normal(size=(70, 3)) * [1, 1, flat])
    head = f"dataset: {{path: {tmp_path / 'shapes'}}}\npoint_clouds: {{num_points: 48}}\n"
    head += f"task: classification\narm: {ARM}\n"
    (tmp_path / "train.yaml").write_text(head + COMMON % 20)
    result = run_cli("train", tmp_path / "train.yaml", "--out", tmp_path / "run")
    assert result.code == 0, result.err
    assert "macro_f1" in result.out
    np.save(tmp_path / "new.npy", rng.normal(size=(500, 3)) * [1, 1, 0.05])
    assert run_cli("predict", tmp_path / "run", tmp_path / "new.npy", tmp_path / "answers").code == 0
    found = json.loads((tmp_path / "answers" / "predictions.json").read_text())
    assert found["new"]["class"] == "disc"
    (row,) = csv.DictReader((tmp_path / "answers" / "predictions.csv").open())
    assert (row["case"], row["class"]) == ("new", "disc")
    assert float(row["probability of disc"]) == found["new"]["probabilities"]["disc"]
    assert sum(float(row[f"probability of {kind}"]) for kind in ("ball", "disc")) == pytest.approx(1)


def test_predict_refuses_invalid_inputs_and_writes_nothing(run, scans, tmp_path):
    whole = (scans / "scan0.ply").read_bytes()
    (tmp_path / "cut.ply").write_bytes(whole[: len(whole) // 2])
    np.save(tmp_path / "nan.npy", np.full((20, 3), np.nan))
    out = tmp_path / "out"
    assert "cut.ply" in run_rejected("predict", run, scans / "scan0.ply", tmp_path / "cut.ply", out)
    assert "NaN or infinite" in run_rejected("predict", run, tmp_path / "nan.npy", out)
    assert "overwrite it" in run_rejected("predict", run, scans, scans)
    assert "kind of point cloud" in run_rejected("predict", run, run / "run.json", out)
    assert "give a folder" in run_rejected("predict", run, scans, tmp_path / "one.ply")
    assert "format" in run_rejected("predict", run, scans, out, "--format", "nifti")
    assert "segmentation of volumes" in run_rejected("predict", run, scans, out, "--max-memory", "1GiB")
    assert not out.exists()


def test_train_names_invalid_data(scans, tmp_path):
    (tmp_path / "train.yaml").write_text(f"arm: {ARM}\n" + COMMON % 1)

    def message(path, *changes):
        words = ("train", tmp_path / "train.yaml", f"dataset.path={path}", "point_clouds.num_points=64", *changes)
        return run_rejected(*words, "--out", tmp_path / "never")

    (tmp_path / "bare").mkdir()
    np.save(tmp_path / "bare" / "a.npy", np.zeros((9, 3)))
    assert "have no labels" in message(tmp_path / "bare")
    assert "does not exist" in message(tmp_path / "nowhere")
    (tmp_path / "tokens.yaml").write_text(f"arm: {TOKENS}\n" + COMMON % 1)
    words = (
        "train",
        tmp_path / "tokens.yaml",
        f"dataset.path={scans}",
        "point_clouds.num_points=64",
        "arm.num_groups=128",
    )
    assert "128" in run_rejected(*words, "--out", tmp_path / "never")
    assert "has no column 'colours'" in message(scans, "point_clouds.features=[colours]")
    assert not (tmp_path / "never" / "weights").exists()


def test_check_finds_duplicates(scans, tmp_path):
    assert "no issues" in run_cli("check", scans, "--layout", "point_clouds").out
    for name in ("a", "b"):
        (tmp_path / f"{name}.ply").write_bytes((scans / "scan0.ply").read_bytes())
    result = run_cli("check", tmp_path, "--layout", "point_clouds")
    assert result.code == 2
    assert "holds the same points as" in " ".join(result.out.split())
