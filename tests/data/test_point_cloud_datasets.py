"""Point cloud datasets: layouts, labels, checks, preprocessing and sampling."""

import json

import numpy as np
import pytest

from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.datasets.point_cloud_index import load_entry
from dimlift.data.datasets.point_cloud_set import PointCloudSet, points_hash
from dimlift.data.io.point_cloud import read_point_cloud
from dimlift.data.io.point_cloud_writer import write_point_labels
from dimlift.data.preprocessing.point_clouds import PointCloudPreprocessing
from dimlift.data.quality.check_dataset import check_dataset
from dimlift.data.sampling.point_cloud_sampler import PointCloudSampler, identity
from dimlift.data.sampling.point_cloud_tiling import tile_point_cloud
from dimlift.errors import DataError


def points(seed=0, count=40):
    return np.random.default_rng(seed).normal(size=(count, 3))


def scans(folder, count=4, **extra):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        where = points(number)
        np.savez(folder / f"{number}.npz", points=where, labels=(where[:, 0] > 0) * 3, **extra)
    return folder


def errors(dataset):
    return [str(issue) for issue in check_dataset(dataset) if issue.level == "error"]


def hashes(dataset):
    return [points_hash(load_entry(case.images[0]).points) for case in dataset.cases]


def test_open_dataset_reads_folder_table_and_arrays_alike(tmp_path):
    rows = ["cloud,label,group"]
    for number, kind in enumerate(("chair", "chair", "lamp", "lamp")):
        (tmp_path / "set" / kind).mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "set" / kind / f"{number}.npy", points(number))
        rows.append(f"set/{kind}/{number}.npy,{kind},room {number % 2}")
    (tmp_path / "set.csv").write_text("\n".join(rows))
    np.savez(
        tmp_path / "all.npz", points=np.stack([points(n) for n in range(4)]), labels=[1, 1, 0, 0],
        classes=["lamp", "chair"],
    )  # fmt: skip
    opened = [open_dataset(tmp_path / name, "point_clouds", "classification") for name in ("set", "set.csv", "all.npz")]
    for dataset in opened:
        named = {value: name for name, value in dataset.labels.items()}
        assert [named[case.label] for case in dataset.cases] == ["chair", "chair", "lamp", "lamp"]
        assert hashes(dataset) == hashes(opened[0])
        assert not errors(dataset)
    assert opened[0].cases[0].name == "chair_0"
    assert [case.group for case in opened[1].cases] == ["room 0", "room 1", "room 0", "room 1"]
    assert list(opened[2].labels) == ["lamp", "chair"]


def test_manifest_hash_of_arrays_depends_on_points(tmp_path):
    stacked = np.stack([points(n) for n in range(4)])
    names = ("one", "moved", "other")
    for name, shift in zip(names, (0, 0, 1), strict=True):
        stacked[0, 0, 0] += shift
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "set.npz", points=stacked, labels=[0, 0, 1, 1])
    paths = (tmp_path / name / "set.npz" for name in names)
    one, moved, other = (open_dataset(path, task="classification").manifest_hash() for path in paths)
    assert one == moved
    assert one != other


def test_open_dataset_names_point_labels(tmp_path):
    found = open_dataset(scans(tmp_path), "point_clouds", "segmentation")
    assert (found.labels, found.ignore) == ({"0": 0, "3": 3}, None)
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"left": 0, "ignore": 7, "right": 3}}))
    named = open_dataset(tmp_path, "point_clouds", "segmentation")
    assert (named.labels, named.ignore) == ({"left": 0, "right": 3}, 7)
    assert not errors(named)
    together = np.stack([points(n) for n in range(3)])
    np.savez(tmp_path / "all.npz", points=together, labels=(together[..., 0] > 0).astype(int), classes=["l", "r"])
    every = open_dataset(tmp_path / "all.npz", "point_clouds", "segmentation")
    assert every.labels == {"l": 0, "r": 1}
    np.testing.assert_array_equal(load_entry(every.cases[2].images[0]).labels, together[2, :, 0] > 0)


def test_check_dataset_finds_corrupt_point_clouds(tmp_path):
    scans(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"left": 0, "right": 3}}))
    np.savez(tmp_path / "again.npz", points=points(1), labels=np.zeros(40, int))
    np.savez(tmp_path / "bare.npz", points=points(8))
    np.savez(tmp_path / "fifth.npz", points=points(9), labels=np.full(40, 5))
    (tmp_path / "cut.ply").write_bytes(b"ply\nformat ascii 1.0\n")
    np.save(tmp_path / "nan.npy", np.full((9, 3), np.nan))
    found = "\n".join(errors(open_dataset(tmp_path, "point_clouds", "segmentation")))
    for expected in (
        "again.npz: holds the same points as",
        "bare.npz: has no labels of its points",
        "fifth.npz: has points with the labels 5",
        "cut.ply",
        "nan.npy",
    ):
        assert expected in found
    kept = open_dataset(tmp_path, "point_clouds", "segmentation", skip_corrupt=True)
    assert len(kept.skipped) == 2
    assert {case.name for case in kept.cases} == {"0", "1", "2", "3", "again", "bare", "fifth"}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"one": 0}, "two or more classes"),
        ({"one": 0, "other": 0}, "two or more classes"),
        ({"one": "0", "other": 1}, "a different integer"),
    ],
)
def test_open_dataset_rejects_invalid_point_labels(labels, message, tmp_path):
    scans(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path, "point_clouds", "segmentation")


def test_open_dataset_rejects_unlabelled_point_clouds(tmp_path):
    np.save(tmp_path / "a.npy", points())
    with pytest.raises(DataError, match="have no labels; use one folder per class"):
        open_dataset(tmp_path, "point_clouds", "classification")
    with pytest.raises(DataError, match="have no labels; expected: a column 'label'"):
        open_dataset(tmp_path, "point_clouds", "segmentation")


@pytest.mark.parametrize("radius", [None, 0.8])
def test_tile_point_cloud_covers_every_point(radius):
    cloud = points(3, 157).astype(np.float32)
    covered = set()
    tiles = list(tile_point_cloud(cloud, 16, radius))
    for rows, centre in tiles:
        assert len(rows) == 16
        if radius is not None:
            assert np.linalg.norm(cloud[rows] - centre, axis=1).max() <= radius
        covered.update(rows.tolist())
    assert covered == set(range(157))
    repeated = list(tile_point_cloud(cloud, 16, radius))
    assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(tiles, repeated, strict=True))


def test_point_preprocessing_normalises_features(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(3):
        np.savez(
            tmp_path / f"{number}.npz", points=points(number), labels=np.arange(40) % 2,
            colours=np.full((40, 3), 0.75), height=rng.normal(5 + 100 * (number == 2), 2, 40),
        )  # fmt: skip
    dataset = open_dataset(tmp_path, "point_clouds", "segmentation")
    options = {"features": ("height", "colours"), "normalise": "centre", "num_points": 8}
    fitted = PointCloudPreprocessing.fit(dataset, dataset.cases[:2], **options)
    assert PointCloudPreprocessing.from_json(json.loads(json.dumps(fitted.to_json()))) == fitted
    features = np.concatenate([fitted.read(case).features for case in dataset.cases[:2]])
    np.testing.assert_allclose(features[:, 0].mean(), 0, atol=1e-5)
    np.testing.assert_allclose(features[:, 0].std(), 1, atol=1e-5)
    np.testing.assert_allclose(features[:, 1:], 0.5, atol=1e-6)  # 0.75 of 0 to 1 is 0.5 of -1 to 1
    assert fitted.read(dataset.cases[2]).features[:, 0].mean() > 20
    with pytest.raises(DataError, match=r"0\.npz has no column 'nx' \(it has height, colours\)"):
        PointCloudPreprocessing.fit(dataset, dataset.cases, features=("nx",))


def test_point_preprocessing_keeps_precision_and_ignored_points(tmp_path):
    where = points() + np.array([5e5, 4e6, 100])
    write_point_labels(tmp_path / "scan.ply", where, np.repeat([0, 3, 9, -1], 10).astype(np.int32))
    read = read_point_cloud(tmp_path / "scan.ply")
    np.testing.assert_array_equal(read.points, where)
    preprocessing = PointCloudPreprocessing({"left": 0, "right": 3}, ignore=9, normalise="centre")
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"left": 0, "right": 3, "ignore": 9}}))
    sample = preprocessing.read(open_dataset(tmp_path, "point_clouds", "segmentation").cases[0])
    np.testing.assert_array_equal(sample.label, np.repeat([0, 1, -1, -1], 10))
    np.testing.assert_allclose(sample.points, where - where.mean(0), atol=1e-5)
    np.testing.assert_array_equal(preprocessing.to_file_labels(np.array([1, 0])), [3, 0])


@pytest.mark.parametrize("radius", [None, 1.5])
def test_point_cloud_sampler_keeps_labels_and_features(radius):
    clouds = [points(n, 60).astype(np.float32) for n in range(3)]
    made = PointCloudSet(
        tuple(clouds), ("a", "b", "c"), point_labels=tuple((c[:, 0] > 0).astype(np.int64) for c in clouds),
        features=tuple(np.concatenate([c, np.full((60, 1), n, np.float32)], 1) for n, c in enumerate(clouds)),
    )  # fmt: skip
    sampler = PointCloudSampler(made, 16, augment=False, normalise=identity, crop_radius=radius)
    batch = sampler.batch(5, 3)
    assert sampler.cases(5, 3) == batch.cases
    np.testing.assert_array_equal(batch.label, batch.features[..., 0] > 0)
    moved = (batch.features[..., :3] - batch.points).numpy()
    np.testing.assert_allclose(moved, np.broadcast_to(moved[:, :1], moved.shape), atol=1e-6)
    assert (np.abs(moved).max() < 1e-6) == (radius is None)
    assert [made.names[int(n)] for n in batch.features[:, 0, 3]] == list(batch.cases)
    part = sampler.batch(5, 3, range(1, 3))
    np.testing.assert_array_equal(part.points, batch.points[1:])
    assert part.cases == batch.cases[1:]


def test_check_dataset_names_degenerate_point_clouds(tmp_path):
    scans(tmp_path)
    labels = np.arange(40) % 2 * 3
    np.savez(tmp_path / "spot.npz", points=np.ones((40, 3)), labels=labels)
    np.savez(tmp_path / "plane.npz", points=points(7) * [1, 1, 0], labels=labels)
    issues = check_dataset(open_dataset(tmp_path, "point_clouds", "segmentation"))
    found = {issue.level: issue.message for issue in issues if issue.file.endswith(("spot.npz", "plane.npz"))}
    assert found["error"] == "has all 40 points at one place"
    assert "no extent along z" in found["warning"]
