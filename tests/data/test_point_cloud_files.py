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
    names = {"a.xyz": ("x", "y", "z", "r", "g", "b"), "a.txt": ("x", "y", "z", "nx", "ny", "nz")}
    for name in ("a.npy", "a.xyz", "a.txt", "a.npz"):
        assert np.array_equal(read_point_cloud(tmp_path / name, names.get(name, ())).points, points)
    coloured, normals = (read_point_cloud(tmp_path / name, names[name]) for name in ("a.xyz", "a.txt"))
    assert np.allclose(coloured.colours * 255, colours)
    assert normals.colours is None
    assert np.array_equal(np.stack([normals.extra[name] for name in ("nx", "ny", "nz")], 1), points)
    whole = read_point_cloud(tmp_path / "a.npz")
    assert np.allclose(whole.colours * 255, colours)
    assert np.array_equal(whole.extra["height"], points[:, 2])


@pytest.mark.parametrize("width", [4, 6, 7, 8])
def test_unnamed_columns_are_refused(tmp_path, width):
    np.savetxt(tmp_path / "a.txt", np.random.default_rng(0).uniform(0, 200, (5, width)))
    np.save(tmp_path / "a.npy", np.ones((5, width)))
    for name in ("a.txt", "a.npy"):
        with pytest.raises(DataError, match=rf"{name} has {width} columns without names.*point_clouds\.columns"):
            read_point_cloud(tmp_path / name)
    with pytest.raises(DataError, match=rf"has {width} columns .* but 5 names"):
        read_point_cloud(tmp_path / "a.txt", ("x", "y", "z", "r", "_"))


def test_columns_follow_their_names(tmp_path):
    rows = np.array([[1, 2, 3, 0.5, 10, 20, 30, 4], [4, 5, 6, 0.25, 40, 50, 255, 7]])
    np.savetxt(tmp_path / "a.txt", rows, fmt="%g")
    names = "x y z intensity r g b label"
    by_key = read_point_cloud(tmp_path / "a.txt", names.split())
    (tmp_path / "b.txt").write_text(f"# {names}\n" + (tmp_path / "a.txt").read_text())
    for cloud in (by_key, read_point_cloud(tmp_path / "b.txt")):
        assert np.array_equal(cloud.points, rows[:, :3])
        assert np.allclose(cloud.colours * 255, rows[:, 4:7])
        assert cloud.labels.tolist() == [4, 7]
        assert cloud.extra["intensity"].tolist() == [0.5, 0.25]
    swapped = read_point_cloud(tmp_path / "a.txt", ["z", "y", "x", "_", "b", "g", "r", "label"])
    assert np.array_equal(swapped.points, rows[:, [2, 1, 0]])
    assert np.allclose(swapped.colours * 255, rows[:, [6, 5, 4]])
    assert not swapped.extra


@pytest.mark.parametrize(
    ("head", "row"),
    [("COFF", "{} {} {} 255 0 51"), ("COFF", "{} {} {} 255 0 51 255"), ("COFF", "{} {} {} 1.0 0.0 0.2 1.0")],
)
def test_off_colours_are_no_coordinates(tmp_path, points, head, row):
    body = "\n".join(row.format(*point) for point in points)
    (tmp_path / "a.off").write_text(f"# a comment\n{head}\n\n{COUNT} 0 0\n{body}\n")
    cloud = read_point_cloud(tmp_path / "a.off")
    assert np.array_equal(cloud.points, points)
    assert np.allclose(cloud.colours, [1, 0, 0.2])
    (tmp_path / "b.off").write_text(f"OFF\n{COUNT} 0 0\n{body}\n")  # scanners write colours without COFF
    with pytest.raises(DataError, match="columns without names"):
        read_point_cloud(tmp_path / "b.off")


def test_off_normals_are_no_colours(tmp_path, points):
    body = "\n".join("{} {} {} 0 0 1".format(*point) for point in points)
    (tmp_path / "a.off").write_text(f"NOFF\n{COUNT} 0 0\n{body}\n")
    cloud = read_point_cloud(tmp_path / "a.off")
    assert np.array_equal(cloud.points, points)
    assert cloud.colours is None


def test_pcd_padding_and_packed_colours(tmp_path, points, colours):
    kinds = [(n, "<f4") for n in "xyz"] + [("p", "<f4"), ("rgb", "<u4"), ("q", "<f4", (3,))]
    rows = np.zeros(COUNT, kinds)
    for i, name in enumerate("xyz"):
        rows[name] = points[:, i]
    red, green, blue = colours.astype(np.uint32).T
    rows["rgb"] = red << 16 | green << 8 | blue
    head = "VERSION .7\nFIELDS x y z _ rgb _\nSIZE 4 4 4 4 4 4\nTYPE F F F F F F\nCOUNT 1 1 1 1 1 3\n"
    head += f"WIDTH {COUNT}\nHEIGHT 1\nPOINTS {COUNT}\nDATA binary\n"
    (tmp_path / "a.pcd").write_bytes(head.encode() + rows.tobytes())
    cloud = read_point_cloud(tmp_path / "a.pcd")
    assert np.array_equal(cloud.points, points.astype(np.float32))
    assert np.allclose(cloud.colours * 255, colours)


@pytest.mark.parametrize(("kind", "largest", "scale"), [("u1", 255, 255), ("u2", 255, 255), ("u2", 65535, 65535)])
def test_ply_colours_are_scaled_by_type_and_range(tmp_path, kind, largest, scale):
    names = ("red", "green", "blue")
    rows = np.zeros(3, [*((n, "f4") for n in "xyz"), *((n, kind) for n in names)])
    rows["x"], rows["red"], rows["green"] = (0, 1, 2), (0, 100, largest), 51
    plyfile.PlyData([plyfile.PlyElement.describe(rows, "vertex")]).write(str(tmp_path / "a.ply"))
    found = read_point_cloud(tmp_path / "a.ply").colours
    np.testing.assert_allclose(found[:, 0], np.array([0, 100, largest]) / scale, rtol=1e-6)
    np.testing.assert_allclose(found[:, 1], 51 / scale, rtol=1e-6)


@pytest.mark.parametrize(("value", "message"), [(0.5, r"not integers \(0\.5\)"), (np.nan, "NaN"), (2.0**40, "32 bits")])
def test_point_labels_that_are_no_integers_are_refused(tmp_path, value, message):
    labels = np.array([0.0, value, 1.0])
    np.savez(tmp_path / "a.npz", points=np.eye(3), labels=labels)
    np.savetxt(tmp_path / "a.txt", np.column_stack([np.eye(3), labels]), header="x y z label")
    for name in ("a.npz", "a.txt"):
        with pytest.raises(DataError, match=message):
            read_point_cloud(tmp_path / name)


def test_point_labels_near_integers_are_rounded(tmp_path):
    np.savez(tmp_path / "a.npz", points=np.eye(3), labels=np.array([0.99999, 70000.0, -1.0]))
    assert read_point_cloud(tmp_path / "a.npz").labels.tolist() == [1, 70000, -1]
    np.savez(tmp_path / "b.npz", points=np.eye(3), labels=np.zeros(4, int))
    with pytest.raises(DataError, match="4"):
        read_point_cloud(tmp_path / "b.npz")


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
