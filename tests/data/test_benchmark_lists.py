"""Files of ModelNet40, ScanObjectNN, ShapeNet-55 and ScanNet in their published layouts, with a few points each."""

import json

import numpy as np
import plyfile
import pytest

from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.datasets.point_cloud_index import index_point_clouds, load_entry
from dimlift.data.datasets.point_cloud_set import concat_point_cloud_sets, load_point_cloud_set
from dimlift.data.io.point_cloud import read_point_cloud
from dimlift.data.quality.check_dataset import check_dataset
from dimlift.errors import CorruptFileError, DataError

NORMALS = ("x", "y", "z", "nx", "ny", "nz")


def cloud(seed, count=12):
    return np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)


def write_modelnet(folder, names):
    """Write files in the layout of PointNet++: x, y, z and a normal, separated by commas."""
    for seed, name in enumerate(names):
        at = folder / name.rpartition("_")[0]
        at.mkdir(parents=True, exist_ok=True)
        np.savetxt(at / f"{name}.txt", np.hstack([cloud(seed), -np.abs(cloud(seed))]), fmt="%.5f", delimiter=",")
    return folder


def test_benchmark_list_reads_modelnet40(tmp_path):
    names = ["airplane_0001", "night_stand_0002", "night_stand_0201", "airplane_0627"]
    write_modelnet(tmp_path, names)
    (tmp_path / "modelnet40_train.txt").write_text("\n".join(names[:2]) + "\n")
    (tmp_path / "modelnet40_test.txt").write_text("\r\n".join(names[2:]))
    train, test = (load_point_cloud_set(tmp_path / f"modelnet40_{part}.txt", NORMALS) for part in ("train", "test"))
    assert train.classes == test.classes == ("airplane", "night_stand")
    assert (train.labels, test.labels) == ((0, 1), (1, 0))
    np.testing.assert_allclose(train.point_clouds[1], cloud(1), atol=1e-5)
    (tmp_path / "modelnet40_train.txt").write_text("airplane_0001\nbathtub_0001\n")
    with pytest.raises(DataError, match=r"modelnet40_train.txt, line 2: 'bathtub_0001' does not exist"):
        load_point_cloud_set(tmp_path / "modelnet40_train.txt", NORMALS)


def test_benchmark_list_reads_shapenet55(tmp_path):
    for folder in ("ShapeNet-55", "shapenet_pc"):
        (tmp_path / folder).mkdir()
    for seed, name in enumerate(("02691156-1a04e3", "03001627-2b15f4")):
        np.save(tmp_path / "shapenet_pc" / f"{name}.npy", cloud(seed))
    (tmp_path / "ShapeNet-55" / "train.txt").write_text("02691156-1a04e3.npy\n03001627-2b15f4.npy\n")
    found = load_point_cloud_set(tmp_path / "ShapeNet-55" / "train.txt")
    assert found.classes == ("02691156", "03001627")
    np.testing.assert_array_equal(found.point_clouds[1], cloud(1))


def write_h5(path, seeds, labels):
    h5py = pytest.importorskip("h5py", reason="reading .h5 needs h5py")
    with h5py.File(path, "w") as archive:
        archive["data"] = np.stack([cloud(seed) for seed in seeds])
        archive["label"] = labels
        archive["mask"] = np.full((len(seeds), 12), -1)  # ScanObjectNN: background points
    return path


def test_benchmark_list_reads_modelnet40_h5(tmp_path):
    write_h5(tmp_path / "ply_data_train0.h5", (0, 1), np.array([[0], [1]], np.uint8))
    write_h5(tmp_path / "ply_data_train1.h5", (2,), np.array([[1]], np.uint8))
    (tmp_path / "shape_names.txt").write_text("airplane\nbathtub\n")
    (tmp_path / "train_files.txt").write_text(
        "data/modelnet40_ply_hdf5_2048/ply_data_train0.h5\ndata/modelnet40_ply_hdf5_2048/ply_data_train1.h5\n"
    )
    found = load_point_cloud_set(tmp_path / "train_files.txt")
    assert (found.classes, found.labels) == (("airplane", "bathtub"), (0, 1, 1))
    np.testing.assert_array_equal(found.point_clouds[2], cloud(2))


def test_open_dataset_reads_scanobjectnn(tmp_path):
    path = write_h5(tmp_path / "training_objectdataset_augmentedrot_scale75.h5", range(4), np.array([0, 2, 1, 2]))
    dataset = open_dataset(path, "point_clouds", "classification")
    assert [case.label for case in dataset.cases] == [0, 2, 1, 2]
    np.testing.assert_array_equal(load_entry(dataset.cases[3].images[0]).points, cloud(3))
    (tmp_path / "cut.h5").write_bytes(path.read_bytes()[:700])
    with pytest.raises(CorruptFileError, match=r"cut\.h5 cannot be read as an \.h5"):
        index_point_clouds(tmp_path / "cut.h5")
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "other.h5", "w") as archive:
        archive["poses"] = np.zeros(3)
    with pytest.raises(DataError, match=r"other\.h5 holds poses; expected: data"):
        index_point_clouds(tmp_path / "other.h5")


def test_h5_rejects_implausible_size_and_external_data(tmp_path):
    h5py = pytest.importorskip("h5py", reason="reading .h5 needs h5py")
    with h5py.File(tmp_path / "huge.h5", "w") as archive:  # sparse: a few hundred bytes that state gigabytes
        archive.create_dataset("data", shape=(10**6, 1000, 3), dtype="f4", chunks=(1, 1000, 3), compression="gzip")
    with pytest.raises(DataError, match="which is not plausible"):
        index_point_clouds(tmp_path / "huge.h5")
    (tmp_path / "secret.bin").write_bytes(bytes(96))
    with h5py.File(tmp_path / "linked.h5", "w") as archive:
        outside = [(str(tmp_path / "secret.bin"), 0, 96)]
        archive.create_dataset("data", shape=(2, 4, 3), dtype="f4", external=outside)
    with pytest.raises(DataError, match="in other files"):
        index_point_clouds(tmp_path / "linked.h5")


def write_scene(folder, scene, labels):
    """Write a mesh with colours, and a second one whose `label` and colours are the classes."""
    at = folder / scene
    at.mkdir(parents=True)
    for end, colour, label in (("", 100, None), (".labels", 7, labels)):
        kinds = [("x", "f4"), ("y", "f4"), ("z", "f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")]
        rows = np.zeros(12, [*kinds, *([] if label is None else [("label", "u2")])])
        rows["x"], rows["y"], rows["z"] = cloud(3).T
        rows["red"] = rows["green"] = rows["blue"] = colour
        if label is not None:
            rows["label"] = label
        plyfile.PlyData([plyfile.PlyElement.describe(rows, "vertex")]).write(str(at / f"{scene}_vh_clean_2{end}.ply"))
    return at


def test_scannet_labels_and_rooms(tmp_path):
    labels = np.array([1, 2, 40, 0] * 3)
    for scene in ("scene0000_00", "scene0000_01", "scene0001_00"):
        write_scene(tmp_path / "scans", scene, labels)
    found = read_point_cloud(tmp_path / "scans" / "scene0000_00" / "scene0000_00_vh_clean_2.ply")
    np.testing.assert_array_equal(found.labels, labels)
    assert found.colours.max() == pytest.approx(100 / 255)  # of the first file
    folder = index_point_clouds(tmp_path / "scans")
    assert [entry.group for entry in folder] == ["scene0000", "scene0000", "scene0001"]
    (tmp_path / "scannetv2_train.txt").write_text("scene0000_01\nscene0001_00\n")
    listed = index_point_clouds(tmp_path / "scannetv2_train.txt")
    assert [entry.file for entry in listed] == [entry.file for entry in folder[1:]]
    assert [entry.class_name for entry in listed] == [None, None]


@pytest.mark.parametrize(("ignore", "faults"), [("others", 0), (0, 1)])
def test_check_dataset_reports_unnamed_labels(tmp_path, ignore, faults):
    for scene in ("scene0000_00", "scene0001_00"):
        write_scene(tmp_path, scene, np.array([1, 2, 40, 0] * 3))
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"wall": 1, "floor": 2, "ignore": ignore}}))
    dataset = open_dataset(tmp_path, "point_clouds", "segmentation")
    errors = [issue for issue in check_dataset(dataset) if "labels 40" in issue.message]
    assert len(errors) == 2 * faults


def test_read_point_cloud_rejects_labels_of_another_scan(tmp_path):
    write_scene(tmp_path, "scene0000_00", 1)
    other = write_scene(tmp_path / "other", "scene0000_00", 1) / "scene0000_00_vh_clean_2.labels.ply"
    data = plyfile.PlyData.read(str(other))
    data["vertex"].data["x"][0] += 1
    at = tmp_path / "scene0000_00"
    data.write(str(at / other.name))
    with pytest.raises(DataError, match=r"labels\.ply does not label the points of"):
        read_point_cloud(at / "scene0000_00_vh_clean_2.ply")


def test_concat_point_cloud_sets_rejects_overlap(tmp_path):
    write_modelnet(tmp_path, ["chair_0001", "lamp_0001", "chair_0002", "sofa_0001"])
    for name, lines in (("a", "chair_0001\nlamp_0001"), ("b", "chair_0002"), ("c", "sofa_0001"), ("d", "lamp_0001")):
        (tmp_path / f"{name}.txt").write_text(lines)
    a, b, c, d = (load_point_cloud_set(tmp_path / f"{name}.txt", NORMALS) for name in "abcd")
    both = concat_point_cloud_sets(a, b)
    assert (both.labels, len(both)) == ((0, 1, 0), 3)
    with pytest.raises(DataError, match="sofa, which no training point cloud has"):
        concat_point_cloud_sets(a, c)
    with pytest.raises(DataError, match=r"1 test point clouds are also in the training set: lamp/lamp_0001\.txt"):
        concat_point_cloud_sets(a, d)
