"""Clouds from labels to a page: train, predict, compare, and every way in which data can be wrong."""

import json

import numpy as np
import pytest
from command_line import ask, refused

from dimlift.data.io.point_cloud import READERS, read_cloud
from dimlift.data.io.point_cloud_writer import write_labelled

ARM = "{method: point_unet, share: 0.25, voxel: 0.2}"
TOKENS = "{method: point_transformer, patches: 8, neighbours: 8, width: 24, depth: 1, heads: 2}"
COMMON = """
split: {folds: 3}
budget: {steps: %d}
training: {batch_size: 2, threads: 1, device: cpu, rate: 0.02, augment: false}
"""


def scan(path, seed):
    """A flat floor, and a box high above it."""
    rng = np.random.default_rng(seed)
    where = np.r_[np.c_[rng.uniform(-1, 1, (80, 2)), np.zeros(80)], rng.uniform((0, 0, 1), (0.5, 0.5, 1.5), (40, 3))]
    order = rng.permutation(120)
    return write_labelled(
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
    head = f"clouds: {{path: {scans}, frame: file, points: 64}}\narm: {ARM}\n"
    (folder / "train.yaml").write_text(head + COMMON % 25)
    answer = ask("train", folder / "train.yaml", "--out", folder / "out")
    assert answer.code == 0, answer.err
    assert "mean_iou" in answer.out
    return folder / "out"


def test_labels_come_back_in_the_order_of_the_points(run, scans, tmp_path):
    new = scan(tmp_path / "new.ply", 99)
    truth = read_cloud(new)
    np.savez(tmp_path / "bare.npz", points=truth.points)  # nobody labelled this one
    for source in (new, tmp_path / "bare.npz"):
        for out in (tmp_path / "out.npz", tmp_path / "out.ply"):
            assert ask("predict", run, source, out).code == 0
            found = read_cloud(out)
            np.testing.assert_array_equal(found.points, truth.points)
            assert (found.labels == truth.labels).mean() > 0.95
    assert ask("predict", run, scans, tmp_path / "all", "--also", run).code == 0
    assert sorted(file.name for file in (tmp_path / "all").iterdir()) == [f"scan{n}.ply" for n in range(5)]


def test_a_cloud_is_read_once_however_many_runs_are_averaged(run, scans, tmp_path, monkeypatch):
    reads, read = [], READERS[".ply"]
    monkeypatch.setitem(READERS, ".ply", lambda path: reads.append(path.name) or read(path))
    assert ask("predict", run, scans, tmp_path / "out", "--also", run).code == 0
    assert sorted(reads) == [f"scan{n}.ply" for n in range(5)]


def test_a_study_of_points_ends_in_a_page(scans, tmp_path):
    arms = f"arms:\n  sparse: {ARM}\n  tokens: {TOKENS}\nseeds: [0, 1]\n"
    head = f"clouds: {{path: {scans}, frame: file, points: 64, upright: z}}\n"
    (tmp_path / "study.yaml").write_text(head + arms + COMMON % 4)
    answer = ask("compare", tmp_path / "study.yaml", "--out", tmp_path / "study")
    assert answer.code == 0, answer.err
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
    assert "4 of 4 runs finished" in answer.out
    assert "already finished" in ask("compare", tmp_path / "study.yaml", "--out", tmp_path / "study").err


def test_whole_clouds_are_classified(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(8):
        kind, flat = (("ball", 1.0), ("disc", 0.05))[number % 2]
        (tmp_path / "shapes" / kind).mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "shapes" / kind / f"{number}.npy", rng.normal(size=(70, 3)) * [1, 1, flat])
    head = f"clouds: {{path: {tmp_path / 'shapes'}, points: 48}}\ntask: classification\narm: {ARM}\n"
    (tmp_path / "train.yaml").write_text(head + COMMON % 20)
    answer = ask("train", tmp_path / "train.yaml", "--out", tmp_path / "run")
    assert answer.code == 0, answer.err
    assert "macro_f1" in answer.out
    np.save(tmp_path / "new.npy", rng.normal(size=(500, 3)) * [1, 1, 0.05])
    assert ask("predict", tmp_path / "run", tmp_path / "new.npy", tmp_path / "answers").code == 0
    found = json.loads((tmp_path / "answers" / "predictions.json").read_text())
    assert found["new"]["class"] == "disc"


def test_what_cannot_be_predicted_is_refused_and_nothing_is_written(run, scans, tmp_path):
    whole = (scans / "scan0.ply").read_bytes()
    (tmp_path / "cut.ply").write_bytes(whole[: len(whole) // 2])
    np.save(tmp_path / "nan.npy", np.full((20, 3), np.nan))
    out = tmp_path / "out"
    assert "cut.ply" in refused("predict", run, scans / "scan0.ply", tmp_path / "cut.ply", out)
    assert "NaN or infinite" in refused("predict", run, tmp_path / "nan.npy", out)
    assert "overwrite it" in refused("predict", run, scans, scans)
    assert "kind of point cloud" in refused("predict", run, run / "run.json", out)
    assert "give a folder" in refused("predict", run, scans, tmp_path / "one.ply")
    assert "format" in refused("predict", run, scans, out, "--format", "nifti")
    assert "for volumes" in refused("predict", run, scans, out, "--max-memory", "1GiB")
    assert not out.exists()


def test_data_that_is_wrong_is_named(scans, tmp_path):
    (tmp_path / "train.yaml").write_text(f"arm: {ARM}\n" + COMMON % 1)

    def told(path, *changes):
        words = ("train", tmp_path / "train.yaml", f"clouds.path={path}", "clouds.points=64", *changes)
        return refused(*words, "--out", tmp_path / "never")

    (tmp_path / "bare").mkdir()
    np.save(tmp_path / "bare" / "a.npy", np.zeros((9, 3)))
    assert "have no labels; a column 'label'" in told(tmp_path / "bare")
    assert "there is nothing at" in told(tmp_path / "nowhere")
    (tmp_path / "tokens.yaml").write_text(f"arm: {TOKENS}\n" + COMMON % 1)
    words = ("train", tmp_path / "tokens.yaml", f"clouds.path={scans}", "clouds.points=64", "arm.patches=128")
    assert "128" in refused(*words, "--out", tmp_path / "never")
    assert "has no column 'colours'" in told(scans, "clouds.features=[colours]")
    assert not (tmp_path / "never" / "weights").exists()


def test_check_lists_every_fault_of_a_set_of_clouds(scans, tmp_path):
    assert "nothing wrong" in ask("check", scans, "--clouds").out
    for name in ("a", "b"):
        (tmp_path / f"{name}.ply").write_bytes((scans / "scan0.ply").read_bytes())
    answer = ask("check", tmp_path, "--clouds")
    assert answer.code == 2
    assert "holds the same points as" in " ".join(answer.out.split())
