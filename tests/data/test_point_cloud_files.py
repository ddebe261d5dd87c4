"""Point cloud files: all formats give the same point cloud; corrupt files are refused by name."""

import laspy
import numpy as np
import plyfile
import pytest

from dimlift.data.io.point_cloud import read_point_cloud
from dimlift.errors import CorruptFileError, DataError, UnknownNameError

COUNT = 40


@pytest.fixture
def points():
    return np.random.default_rng(0).normal(size=(COUNT, 3)).round(3)


@pytest.fixture
def colours():
    return np.random.default_rng(1).integers(0, 256, (COUNT, 3)).astype(np.uint8)


def write_ply(path, points, colours, text=False):
    rows = np.empty(
        COUNT, [*((n, "f8") for n in "xyz"), *((n, "u1") for n in ("red", "green", "blue")), ("label", "i4")]
    )
    for i, name in enumerate("xyz"):
        rows[name] = points[:, i]
    for i, name in enumerate(("red", "green", "blue")):
        rows[name] = colours[:, i]
    rows["label"] = np.arange(COUNT)
    plyfile.PlyData([plyfile.PlyElement.describe(rows, "vertex")], text=text).write(str(path))


def write_pcd(path, points, kind):
    head = "VERSION .7\nFIELDS x y z\nSIZE 8 8 8\nTYPE F F F\nCOUNT 1 1 1\n"
    head += f"WIDTH {COUNT}\nHEIGHT 1\nPOINTS {COUNT}\nDATA {kind}\n"
    body = (
        points.astype("<f8").tobytes()
        if kind == "binary"
        else "\n".join(" ".join(map(str, p)) for p in points).encode()
    )
    path.write_bytes(b"# written by a test\n" + head.encode() + body)


@pytest.mark.parametrize("text", [True, False])
def test_read_point_cloud_ply(tmp_path, points, colours, text):
    write_ply(tmp_path / "a.ply", points, colours, text)
    cloud = read_point_cloud(tmp_path / "a.ply")
    assert np.array_equal(cloud.points, points)
    assert np.allclose(cloud.colours * 255, colours)
    assert cloud.labels.tolist() == list(range(COUNT))


@pytest.mark.parametrize("kind", ["ascii", "binary"])
def test_read_point_cloud_pcd(tmp_path, points, kind):
    write_pcd(tmp_path / "a.pcd", points, kind)
    assert np.array_equal(read_point_cloud(tmp_path / "a.pcd").points, points)


def test_read_point_cloud_tables(tmp_path, points, colours):
    np.save(tmp_path / "a.npy", points)
    np.savetxt(tmp_path / "a.xyz", np.hstack([points, colours]), fmt="%.3f")
    np.savetxt(tmp_path / "a.txt", np.hstack([points, points]), fmt="%.3f", delimiter=",")  # ModelNet40's: normals
    np.savez(tmp_path / "a.npz", points=points, colours=colours / 255, labels=np.arange(COUNT), height=points[:, 2])
    for name in ("a.npy", "a.xyz", "a.txt", "a.npz"):
        assert np.array_equal(read_point_cloud(tmp_path / name).points, points)
    assert np.allclose(read_point_cloud(tmp_path / "a.xyz").colours * 255, colours)
    assert np.array_equal(read_point_cloud(tmp_path / "a.txt").extra["normals"], points)
    whole = read_point_cloud(tmp_path / "a.npz")
    assert np.allclose(whole.colours * 255, colours)
    assert np.array_equal(whole.extra["height"], points[:, 2])


@pytest.mark.parametrize("joint", [True, False])
def test_read_point_cloud_off_without_line_break(tmp_path, points, joint):
    body = "\n".join(" ".join(map(str, p)) for p in points)
    (tmp_path / "a.off").write_text(f"OFF{'' if joint else chr(10)}{COUNT} 1 0\n{body}\n3 0 1 2\n")
    assert np.array_equal(read_point_cloud(tmp_path / "a.off").points, points)


def test_read_point_cloud_las(tmp_path, points):
    header = laspy.LasHeader(point_format=2, version="1.2")
    header.scales = [0.001] * 3
    file = laspy.LasData(header)
    file.x, file.y, file.z = points.T
    file.classification = np.arange(COUNT) % 8
    file.write(tmp_path / "a.las")
    cloud = read_point_cloud(tmp_path / "a.las")
    assert np.allclose(cloud.points, points, atol=1e-3)
    assert cloud.labels.tolist() == [n % 8 for n in range(COUNT)]


@pytest.mark.parametrize("name", ["a.ply", "a.pcd", "a.npy", "a.off", "a.las"])
def test_read_point_cloud_rejects_truncated_files(tmp_path, points, colours, name):
    path = tmp_path / name
    match path.suffix:
        case ".ply":
            write_ply(path, points, colours)
        case ".pcd":
            write_pcd(path, points, "binary")
        case ".npy":
            np.save(path, points)
        case ".off":
            path.write_text(f"OFF\n{COUNT} 0 0\n" + "\n".join(" ".join(map(str, p)) for p in points))
        case ".las":
            file = laspy.LasData(laspy.LasHeader(point_format=0, version="1.2"))
            file.x, file.y, file.z = points.T
            file.write(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * 0.6)])
    with pytest.raises(CorruptFileError, match=name.replace(".", r"\.")):
        read_point_cloud(path)


def test_read_point_cloud_rejects_invalid_files(tmp_path, points):
    points[3, 1] = np.nan
    np.save(tmp_path / "nan.npy", points)
    with pytest.raises(DataError, match="point 3"):
        read_point_cloud(tmp_path / "nan.npy")
    np.save(tmp_path / "flat.npy", np.zeros(5))
    with pytest.raises(DataError, match="x y z"):
        read_point_cloud(tmp_path / "flat.npy")
    np.save(tmp_path / "empty.npy", np.zeros((0, 3)))
    with pytest.raises(DataError, match="no point"):
        read_point_cloud(tmp_path / "empty.npy")
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(CorruptFileError, match=r"object\.npy"):
        read_point_cloud(tmp_path / "object.npy")
    (tmp_path / "a.stl").write_bytes(b"")
    with pytest.raises(UnknownNameError, match="ply"):
        read_point_cloud(tmp_path / "a.stl")
    with pytest.raises(DataError, match="does not exist"):
        read_point_cloud(tmp_path / "absent.ply")
