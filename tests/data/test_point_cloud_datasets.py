"""Clouds as cases: how sets lie, what their points show, and that every point keeps its place and its label."""

import json

import numpy as np
import pytest

from dimlift.data.datasets.point_cloud_index import read_place
from dimlift.data.datasets.point_cloud_set import CloudSet
from dimlift.data.datasets.point_clouds import open_cloud_dataset
from dimlift.data.io.point_cloud import read_cloud
from dimlift.data.io.point_cloud_writer import write_labelled
from dimlift.data.preprocessing.point_clouds import CloudPreprocessing
from dimlift.data.quality.check_dataset import check_cases
from dimlift.data.quality.check_point_cloud import look_at_cloud
from dimlift.data.sampling.point_cloud_sampler import CloudSampler, as_it_is
from dimlift.data.sampling.point_cloud_tiling import cover
from dimlift.errors import DataError
from dimlift.studies.modality.point_clouds import digests


def points(seed=0, count=40):
    return np.random.default_rng(seed).normal(size=(count, 3))


def scans(folder, count=4, **extra):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        where = points(number)
        np.savez(folder / f"{number}.npz", points=where, labels=(where[:, 0] > 0) * 3, **extra)
    return folder


def faults(dataset):
    findings = check_cases(dataset, lambda case: look_at_cloud(case, dataset), content="points")
    return [str(finding) for finding in findings if finding.level == "error"]


def test_a_folder_for_each_class_a_table_and_one_file_give_the_same_answers(tmp_path):
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
    opened = [open_cloud_dataset(tmp_path / name, "classification") for name in ("set", "set.csv", "all.npz")]
    for dataset in opened:
        named = {value: name for name, value in dataset.labels.items()}
        assert [named[case.label] for case in dataset.cases] == ["chair", "chair", "lamp", "lamp"]
        assert [digests(case) for case in dataset.cases] == [digests(case) for case in opened[0].cases]
        assert not faults(dataset)
    assert opened[0].cases[0].name == "chair_0"
    assert [case.group for case in opened[1].cases] == ["room 0", "room 1", "room 0", "room 1"]
    assert list(opened[2].labels) == ["lamp", "chair"]


def test_one_file_of_all_is_known_by_its_points_wherever_it_lies(tmp_path):
    stacked = np.stack([points(n) for n in range(4)])
    names = ("one", "moved", "other")
    for name, shift in zip(names, (0, 0, 1), strict=True):
        stacked[0, 0, 0] += shift
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "set.npz", points=stacked, labels=[0, 0, 1, 1])
    one, moved, other = (open_cloud_dataset(tmp_path / n / "set.npz", "classification").manifest_hash() for n in names)
    assert one == moved
    assert one != other


def test_what_points_show_is_named_or_found(tmp_path):
    found = open_cloud_dataset(scans(tmp_path), "segmentation")
    assert (found.labels, found.ignore) == ({"0": 0, "3": 3}, None)
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"left": 0, "ignore": 7, "right": 3}}))
    named = open_cloud_dataset(tmp_path, "segmentation")
    assert (named.labels, named.ignore) == ({"left": 0, "right": 3}, 7)
    assert not faults(named)
    together = np.stack([points(n) for n in range(3)])
    np.savez(tmp_path / "all.npz", points=together, labels=(together[..., 0] > 0).astype(int), classes=["l", "r"])
    every = open_cloud_dataset(tmp_path / "all.npz", "segmentation")
    assert every.labels == {"l": 0, "r": 1}
    np.testing.assert_array_equal(read_place(every.cases[2].images[0]).labels, together[2, :, 0] > 0)


def test_faults_between_clouds_are_found_and_bad_ones_left_out_only_on_demand(tmp_path):
    scans(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"left": 0, "right": 3}}))
    np.savez(tmp_path / "again.npz", points=points(1), labels=np.zeros(40, int))
    np.savez(tmp_path / "bare.npz", points=points(8))
    np.savez(tmp_path / "fifth.npz", points=points(9), labels=np.full(40, 5))
    (tmp_path / "cut.ply").write_bytes(b"ply\nformat ascii 1.0\n")
    np.save(tmp_path / "nan.npy", np.full((9, 3), np.nan))
    told = "\n".join(faults(open_cloud_dataset(tmp_path, "segmentation")))
    for wanted in (
        "again.npz: holds the same points as",
        "bare.npz: has no labels of its points",
        "fifth.npz: has points of the classes 5",
        "cut.ply",
        "nan.npy",
    ):
        assert wanted in told
    kept = open_cloud_dataset(tmp_path, "segmentation", skip_bad=True)
    assert len(kept.left_out) == 2
    assert {case.name for case in kept.cases} == {"0", "1", "2", "3", "again", "bare", "fifth"}


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ({"one": 0}, "two classes or more"),
        ({"one": 0, "other": 0}, "two classes or more"),
        ({"one": "0", "other": 1}, "a whole number each"),
    ],
)
def test_names_that_name_nothing_are_refused(labels, told, tmp_path):
    scans(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    with pytest.raises(DataError, match=told):
        open_cloud_dataset(tmp_path, "segmentation")


def test_sets_that_show_nothing_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", points())
    with pytest.raises(DataError, match="have no labels; give a folder for each class"):
        open_cloud_dataset(tmp_path, "classification")
    with pytest.raises(DataError, match="have no labels; a column 'label'"):
        open_cloud_dataset(tmp_path, "segmentation")


@pytest.mark.parametrize("radius", [None, 0.8])
def test_a_cover_shows_every_point_and_nothing_beyond_its_ball(radius):
    cloud = points(3, 157).astype(np.float32)
    seen = set()
    draws = list(cover(cloud, 16, radius))
    for rows, centre in draws:
        assert len(rows) == 16
        if radius is not None:
            assert np.linalg.norm(cloud[rows] - centre, axis=1).max() <= radius
        seen.update(rows.tolist())
    assert seen == set(range(157))
    again = list(cover(cloud, 16, radius))
    assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(draws, again, strict=True))


def test_numbers_beside_coordinates_are_those_of_the_training_clouds(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(3):
        np.savez(
            tmp_path / f"{number}.npz", points=points(number), labels=np.arange(40) % 2,
            colours=np.full((40, 3), 0.75), height=rng.normal(5 + 100 * (number == 2), 2, 40),
        )  # fmt: skip
    dataset = open_cloud_dataset(tmp_path, "segmentation")
    options = {"features": ("height", "colours"), "frame": "file", "points": 8}
    fitted = CloudPreprocessing.fit(dataset, dataset.cases[:2], **options)
    assert CloudPreprocessing.from_json(json.loads(json.dumps(fitted.to_json()))) == fitted
    shown = np.concatenate([fitted.read(case).features for case in dataset.cases[:2]])
    np.testing.assert_allclose(shown[:, 0].mean(), 0, atol=1e-5)
    np.testing.assert_allclose(shown[:, 0].std(), 1, atol=1e-5)
    np.testing.assert_allclose(shown[:, 1:], 0.5, atol=1e-6)  # 0.75 of 0 to 1 is 0.5 of -1 to 1
    assert fitted.read(dataset.cases[2]).features[:, 0].mean() > 20
    with pytest.raises(DataError, match=r"0\.npz has no column 'nx' \(it has height, colours\)"):
        CloudPreprocessing.fit(dataset, dataset.cases, features=("nx",))


def test_a_scan_far_from_its_origin_keeps_its_millimetres_and_its_ignored_points(tmp_path):
    where = points() + np.array([5e5, 4e6, 100])
    write_labelled(tmp_path / "scan.ply", where, np.repeat([0, 3, 9, -1], 10).astype(np.int32))
    read = read_cloud(tmp_path / "scan.ply")
    np.testing.assert_array_equal(read.points, where)
    preprocessing = CloudPreprocessing({"left": 0, "right": 3}, ignore=9, frame="file")
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"left": 0, "right": 3, "ignore": 9}}))
    sample = preprocessing.read(open_cloud_dataset(tmp_path, "segmentation").cases[0])
    np.testing.assert_array_equal(sample.label, np.repeat([0, 1, -1, -1], 10))
    np.testing.assert_allclose(sample.points, where - where.mean(0), atol=1e-5)
    np.testing.assert_array_equal(preprocessing.file_labels(np.array([1, 0])), [3, 0])


@pytest.mark.parametrize("radius", [None, 1.5])
def test_labels_and_numbers_go_with_their_points(radius):
    clouds = [points(n, 60).astype(np.float32) for n in range(3)]
    made = CloudSet(
        tuple(clouds), ("a", "b", "c"), point_labels=tuple((c[:, 0] > 0).astype(np.int64) for c in clouds),
        features=tuple(np.concatenate([c, np.full((60, 1), n, np.float32)], 1) for n, c in enumerate(clouds)),
    )  # fmt: skip
    sampler = CloudSampler(made, 16, augment=False, placed=as_it_is, radius=radius)
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
