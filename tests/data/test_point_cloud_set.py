"""Many clouds: however they lie on disk they are the same set, and batches are a function of seed and step."""

import numpy as np
import pytest
import torch

from dimlift.data.datasets.point_cloud_set import CloudSet, open_clouds
from dimlift.data.preprocessing.unit_sphere import in_unit_ball
from dimlift.data.sampling.point_cloud_sampler import CloudSampler
from dimlift.errors import DamagedFile, DataError


@pytest.fixture
def clouds() -> CloudSet:
    rng = np.random.default_rng(0)
    points = tuple(rng.normal(size=(20 + 5 * i, 3)).astype(np.float32) for i in range(4))
    return CloudSet(points, ("a", "b", "c", "d"), ("chair", "lamp"), (0, 0, 1, 1))


def write_folder(clouds: CloudSet, folder):
    for cloud, name, label in zip(clouds.clouds, clouds.names, clouds.labels, strict=True):
        (folder / clouds.classes[label]).mkdir(parents=True, exist_ok=True)
        np.save(folder / clouds.classes[label] / f"{name}.npy", cloud)
    return folder


def same(one: CloudSet, other: CloudSet) -> bool:
    pairs = zip(one.clouds, other.clouds, strict=True)
    return one.classes == other.classes and one.labels == other.labels and all(np.array_equal(a, b) for a, b in pairs)


def test_a_folder_a_table_and_one_file_are_the_same_set(clouds, tmp_path):
    folder = write_folder(clouds, tmp_path / "set")
    rows = [f"set/{clouds.classes[k]}/{n}.npy,{clouds.classes[k]}" for n, k in zip("abcd", clouds.labels, strict=True)]
    (tmp_path / "set.csv").write_text("\n".join(["cloud,label", *rows]))
    offsets = np.cumsum([0, *map(len, clouds.clouds)])
    np.savez(
        tmp_path / "set.npz",
        points=np.concatenate(clouds.clouds), offsets=offsets, labels=clouds.labels, classes=clouds.classes,
    )  # fmt: skip
    for path in (folder, tmp_path / "set.csv", tmp_path / "set.npz"):
        assert same(open_clouds(path), clouds)
    assert open_clouds(folder).digests() == clouds.digests()


def test_clouds_of_one_size_need_no_offsets_and_labels_may_be_missing(tmp_path):
    points = np.random.default_rng(0).normal(size=(3, 10, 3)).astype(np.float16)
    np.savez(tmp_path / "set.npz", points=points)
    found = open_clouds(tmp_path / "set.npz")
    assert len(found) == 3
    assert found.labels == ()


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"points": np.full((2, 5, 3), np.nan)}, "cloud 0 has a coordinate that is NaN"),
        ({"points": np.zeros((2, 5, 4))}, r"points \(2, 5, 4\)"),
        ({"other": np.zeros(3)}, "no 'points'"),
        ({"points": np.zeros((9, 3)), "offsets": np.array([0, 5, 3])}, "offsets must rise"),
        ({"points": np.zeros((2, 5, 3)), "labels": np.array([0, 7]), "classes": np.array(["x"])}, "for 1 classes"),
        ({"points": np.zeros((2, 5, 3)), "labels": np.array([0.0, 1.0])}, "one integer each"),
    ],
)
def test_arrays_that_are_no_set_are_refused(arrays, told, tmp_path):
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(DataError, match=told):
        open_clouds(tmp_path / "set.npz")


def test_files_that_are_no_set_are_refused(clouds, tmp_path):
    np.savez(tmp_path / "whole.npz", points=np.zeros((2, 500, 3)))
    content = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(DamagedFile, match="copy it again"):
        open_clouds(tmp_path / "cut.npz")
    (tmp_path / "set.csv").write_text("file,label\na.ply,x\n")
    with pytest.raises(DataError, match="a column 'cloud'"):
        open_clouds(tmp_path / "set.csv")
    (tmp_path / "set.csv").write_text("cloud,label\na.ply,x\nb.ply,\n")
    with pytest.raises(DataError, match="row 3 has no label"):
        open_clouds(tmp_path / "set.csv")
    (tmp_path / "bare").mkdir()
    for name, told in (("nowhere", "nothing at"), ("bare", "holds no cloud")):
        with pytest.raises(DataError, match=told):
            open_clouds(tmp_path / name)


@pytest.mark.parametrize("turn", ["none", "upright", "any"])
def test_a_batch_is_a_function_of_seed_and_step(clouds, turn):
    one, other = (CloudSampler(clouds, 16, seed=3, turn=turn) for _ in "ab")
    other.batch(4, 3)
    torch.testing.assert_close(one.batch(5, 3).points, other.batch(5, 3).points)
    assert not torch.equal(one.batch(5, 3).points, one.batch(6, 3).points)
    assert len(set(one.batch(5, 4).cases)) == 4


def test_clouds_lie_in_the_unit_ball_wherever_they_were(clouds):
    ball = in_unit_ball(clouds.clouds[0])
    np.testing.assert_allclose(in_unit_ball(clouds.clouds[0] * 7 + 1000), ball, atol=1e-4)
    assert np.linalg.norm(ball, axis=1).max() == pytest.approx(1)
    sampler = CloudSampler(clouds, 16, augment=False, turn="upright", upright=2)
    norms = sampler.batch(0, 4).points.norm(dim=-1)
    assert norms.max() <= 1 + 1e-6


def test_turning_about_the_upright_axis_keeps_heights(clouds):
    still, turned = (CloudSampler(clouds, 16, augment=False, turn=turn, upright=2) for turn in ("none", "upright"))
    heights = [set(np.round(each.whole([0]).points[0, :, 2].numpy(), 5)) for each in (still, turned)]
    assert heights[0] == heights[1]
    ball = {round(float(z), 5) for cloud in clouds.clouds for z in in_unit_ball(cloud)[:, 2]}
    assert {round(float(z), 5) for z in turned.batch(0, 4).points[..., 2].flatten()} <= ball


def test_a_small_cloud_repeats_points_and_whole_clouds_are_always_the_same(clouds):
    sampler = CloudSampler(clouds, 30)
    batch = sampler.whole([0, 3])
    assert batch.points.shape == (2, 30, 3)
    assert len(batch.points[0].unique(dim=0)) == 20
    assert batch.label is not None
    assert batch.label.tolist() == [0, 1]
    torch.testing.assert_close(batch.points, CloudSampler(clouds, 30, seed=9).whole([0, 3]).points)
