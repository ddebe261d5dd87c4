"""Point clouds in memory: equal for all sources on disk; batches are a function of seed and step."""

import numpy as np
import pytest
import torch

from dimlift.data.datasets.point_cloud_set import PointCloudSet, load_point_cloud_set
from dimlift.data.preprocessing.point_clouds import normalise_unit_sphere
from dimlift.data.sampling.point_cloud_sampler import PointCloudSampler
from dimlift.errors import CorruptFileError, DataError


@pytest.fixture
def clouds() -> PointCloudSet:
    rng = np.random.default_rng(0)
    points = tuple(rng.normal(size=(20 + 5 * i, 3)).astype(np.float32) for i in range(4))
    return PointCloudSet(points, ("a", "b", "c", "d"), ("chair", "lamp"), (0, 0, 1, 1))


def write_folder(clouds: PointCloudSet, folder):
    for cloud, name, label in zip(clouds.point_clouds, clouds.names, clouds.labels, strict=True):
        (folder / clouds.classes[label]).mkdir(parents=True, exist_ok=True)
        np.save(folder / clouds.classes[label] / f"{name}.npy", cloud)
    return folder


def same(one: PointCloudSet, other: PointCloudSet) -> bool:
    pairs = zip(one.point_clouds, other.point_clouds, strict=True)
    return one.classes == other.classes and one.labels == other.labels and all(np.array_equal(a, b) for a, b in pairs)


def test_load_point_cloud_set_reads_all_sources_alike(clouds, tmp_path):
    folder = write_folder(clouds, tmp_path / "set")
    rows = [f"set/{clouds.classes[k]}/{n}.npy,{clouds.classes[k]}" for n, k in zip("abcd", clouds.labels, strict=True)]
    (tmp_path / "set.csv").write_text("\n".join(["cloud,label", *rows]))
    offsets = np.cumsum([0, *map(len, clouds.point_clouds)])
    np.savez(
        tmp_path / "set.npz",
        points=np.concatenate(clouds.point_clouds), offsets=offsets, labels=clouds.labels, classes=clouds.classes,
    )  # fmt: skip
    for path in (folder, tmp_path / "set.csv", tmp_path / "set.npz"):
        assert same(load_point_cloud_set(path), clouds)
    assert load_point_cloud_set(folder).point_hashes() == clouds.point_hashes()


def test_load_point_cloud_set_accepts_missing_labels(tmp_path):
    points = np.random.default_rng(0).normal(size=(3, 10, 3)).astype(np.float16)
    np.savez(tmp_path / "set.npz", points=points)
    found = load_point_cloud_set(tmp_path / "set.npz")
    assert len(found) == 3
    assert found.labels == ()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"points": np.full((2, 5, 3), np.nan)}, "cloud 0 has a coordinate that is NaN"),
        ({"points": np.zeros((2, 5, 2))}, r"points \(2, 5, 2\)"),
        ({"points": np.zeros((2, 5, 4))}, "4 columns without names"),
        ({"other": np.zeros(3)}, "no 'points'"),
        ({"points": np.zeros((9, 3)), "offsets": np.array([0, 5, 3])}, "offsets must increase"),
        ({"points": np.zeros((2, 5, 3)), "labels": np.array([0, 7]), "classes": np.array(["x"])}, "for 1 classes"),
        ({"points": np.zeros((2, 5, 3)), "labels": np.array([0.0, 0.5])}, r"not integers \(0\.5\)"),
        ({"points": np.zeros((2, 5, 3)), "labels": np.array([0, 1, 1])}, r"shape \(3,\); \(2,\) is expected"),
    ],
)
def test_load_point_cloud_set_rejects_invalid_arrays(arrays, message, tmp_path):
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load_point_cloud_set(tmp_path / "set.npz")


def test_load_point_cloud_set_rejects_invalid_files(clouds, tmp_path):
    np.savez(tmp_path / "whole.npz", points=np.zeros((2, 500, 3)))
    content = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(CorruptFileError, match="copy it again"):
        load_point_cloud_set(tmp_path / "cut.npz")
    (tmp_path / "set.csv").write_text("file,label\na.ply,x\n")
    with pytest.raises(DataError, match="a column 'cloud'"):
        load_point_cloud_set(tmp_path / "set.csv")
    (tmp_path / "set.csv").write_text("cloud,label\na.ply,x\nb.ply,\n")
    with pytest.raises(DataError, match="row 3 has no label"):
        load_point_cloud_set(tmp_path / "set.csv")
    (tmp_path / "bare").mkdir()
    for name, message in (("nowhere", "does not exist"), ("bare", "holds no point cloud")):
        with pytest.raises(DataError, match=message):
            load_point_cloud_set(tmp_path / name)


@pytest.mark.parametrize("rotation", ["none", "upright", "any"])
def test_point_cloud_sampler_depends_on_seed_and_step(clouds, rotation):
    one, other = (PointCloudSampler(clouds, 16, seed=3, rotation=rotation) for _ in "ab")
    other.batch(4, 3)
    torch.testing.assert_close(one.batch(5, 3).points, other.batch(5, 3).points)
    assert not torch.equal(one.batch(5, 3).points, one.batch(6, 3).points)
    assert len(set(one.batch(5, 4).cases)) == 4


def test_normalise_unit_sphere(clouds):
    sphere = normalise_unit_sphere(clouds.point_clouds[0])
    np.testing.assert_allclose(normalise_unit_sphere(clouds.point_clouds[0] * 7 + 1000), sphere, atol=1e-4)
    assert np.linalg.norm(sphere, axis=1).max() == pytest.approx(1)
    sampler = PointCloudSampler(clouds, 16, augment=False, rotation="upright", up_axis=2)
    norms = sampler.batch(0, 4).points.norm(dim=-1)
    assert norms.max() <= 1 + 1e-6


def test_point_cloud_sampler_upright_rotation_keeps_heights(clouds):
    samplers = [PointCloudSampler(clouds, 16, augment=False, rotation=kind, up_axis=2) for kind in ("none", "upright")]
    heights = [set(np.round(each.deterministic_batch([0]).points[0, :, 2].numpy(), 5)) for each in samplers]
    assert heights[0] == heights[1]
    sphere = {round(float(z), 5) for cloud in clouds.point_clouds for z in normalise_unit_sphere(cloud)[:, 2]}
    assert {round(float(z), 5) for z in samplers[1].batch(0, 4).points[..., 2].flatten()} <= sphere


def test_point_cloud_sampler_repeats_points(clouds):
    sampler = PointCloudSampler(clouds, 30)
    batch = sampler.deterministic_batch([0, 3])
    assert batch.points.shape == (2, 30, 3)
    assert len(batch.points[0].unique(dim=0)) == 20
    assert batch.label is not None
    assert batch.label.tolist() == [0, 1]
    torch.testing.assert_close(batch.points, PointCloudSampler(clouds, 30, seed=9).deterministic_batch([0, 3]).points)
