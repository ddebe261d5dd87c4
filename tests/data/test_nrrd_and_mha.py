"""NRRD and MHA files: read completely or refused, bit by bit as SimpleITK; outputs are on the grid of the input."""

import bz2
import gzip
import os
import zlib
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest

from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.io.metaimage import write_mha_volume
from dimlift.data.io.nrrd import TYPE_NAMES, write_nrrd_volume
from dimlift.data.io.readers import read_grid, read_volume
from dimlift.errors import CorruptFileError, DataError

sitk = pytest.importorskip("SimpleITK")

SIZES = (6, 7, 5)
TILT = (np.cos(0.3), -np.sin(0.3), 0, np.sin(0.3), np.cos(0.3), 0, 0, 0, 1)


def write(path: Path, array: np.ndarray | None = None, packed: bool = True, **frame: tuple) -> Path:
    array = np.random.default_rng(0).normal(size=SIZES).astype(np.float32) if array is None else array
    image = sitk.GetImageFromArray(array.transpose(2, 1, 0, *range(3, array.ndim)), isVector=array.ndim == 4)
    image.SetSpacing(frame.get("spacing", (0.7, 1.1, 3.3)))
    image.SetOrigin((-30.5, 12.25, 7.0))
    image.SetDirection(frame.get("direction", TILT))
    sitk.WriteImage(image, str(path), packed)
    return path


@pytest.fixture(params=["nrrd", "mha"])
def suffix(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("packed", [True, False])
def test_volume_matches_simpleitk(tmp_path: Path, suffix: str, packed: bool):
    array = np.random.default_rng(1).normal(size=SIZES).astype(np.float32)
    array[0, 0, 0], array[1, 0, 0] = np.nan, np.inf
    path = write(tmp_path / f"a.{suffix}", array, packed)
    volume = read_volume(path)
    assert np.array_equal(volume.array, array, equal_nan=True)
    point = np.array(sitk.ReadImage(str(path)).TransformIndexToPhysicalPoint((3, 2, 4))) * [-1, -1, 1]
    assert np.allclose(volume.affine @ [3, 2, 4, 1], [*point, 1], atol=1e-12)
    assert read_grid(path).shape == SIZES
    assert np.array_equal(read_grid(path).affine, volume.affine)


def test_components_become_channels(tmp_path: Path, suffix: str):
    array = np.random.default_rng(1).normal(size=(*SIZES, 2)).astype(np.float32)
    path = write(tmp_path / f"a.{suffix}", array)
    assert np.array_equal(read_volume(path).array, array)
    assert read_grid(path).shape == (*SIZES, 2)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.6, 0.999])
def test_rejects_truncated_files(tmp_path: Path, suffix: str, fraction: float, packed: bool):
    path = write(tmp_path / f"a.{suffix}", packed=packed)
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(CorruptFileError, match=f"a.{suffix}.*copy it again"):
        read_volume(path)


def test_rejects_missing_checksum_and_trailing_bytes(tmp_path: Path, suffix: str):
    """SimpleITK reads both without an error."""
    path = write(tmp_path / f"a.{suffix}")
    content = path.read_bytes()
    for wrong in (content[:-2], content + b"more"):
        path.write_bytes(wrong)
        with pytest.raises(CorruptFileError):
            read_volume(path)
    raw = write(tmp_path / f"b.{suffix}", packed=False)
    raw.write_bytes(raw.read_bytes() + b"more")
    with pytest.raises(CorruptFileError, match="continues after the 840 bytes"):
        read_volume(raw)


def test_rejects_flipped_bits(tmp_path: Path, suffix: str):
    """SimpleITK reads every one of these in an MHA."""
    path = write(tmp_path / f"a.{suffix}")
    content = path.read_bytes()
    packed = len(gzip.compress(bytes(840))) // 2
    for place in range(len(content) - 20 * packed, len(content), 29):
        flipped = bytearray(content)
        flipped[place] ^= 4
        path.write_bytes(flipped)
        with pytest.raises(CorruptFileError):
            read_volume(path)


def test_rejects_implausible_size(tmp_path: Path):
    path = write(tmp_path / "a.mha")
    path.write_bytes(path.read_bytes().replace(b"DimSize = 6 7 5", b"DimSize = 9999 9999 9999"))
    with pytest.raises(CorruptFileError, match="states 3998800119996 bytes of voxels in its header, but only 840"):
        read_volume(path)


def test_does_not_decompress_beyond_its_header(tmp_path: Path):
    head, _, _ = write(tmp_path / "a.mha").read_bytes().partition(b"LOCAL\n")
    head = head.replace(b"CompressedDataSize", b"Comment")
    (tmp_path / "b.mha").write_bytes(head + b"LOCAL\n" + zlib.compress(bytes(50_000_000)))
    with pytest.raises(CorruptFileError, match="continues after the 840 bytes"):
        read_volume(tmp_path / "b.mha")


def test_rejects_external_and_text_voxels(tmp_path: Path):
    path = write(tmp_path / "a.mha", packed=False)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"ElementDataFile = LOCAL", b"ElementDataFile = /etc/passwd"))
    with pytest.raises(DataError, match="another file"):
        read_volume(path)
    nrrd = write(tmp_path / "a.nrrd", packed=False)
    nrrd.write_bytes(nrrd.read_bytes().replace(b"encoding: raw", b"encoding: hex"))
    with pytest.raises(DataError, match="encoding 'hex'"):
        read_volume(nrrd)


@pytest.mark.parametrize("content", [b"", b"GIF89a\n", b"<html>\n" * 100, bytes(348)])
def test_rejects_other_formats(tmp_path: Path, suffix: str, content: bytes):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    with pytest.raises(CorruptFileError):
        read_volume(path)


WRITERS = {"nrrd": write_nrrd_volume, "mha": write_mha_volume}


def lps_affine(image) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return affine


def ras_affine(path: Path) -> np.ndarray:
    return np.diag([-1, -1, 1, 1]) @ lps_affine(sitk.ReadImage(str(path)))


def test_writers_keep_the_grid(tmp_path: Path, suffix: str):
    source = read_volume(write(tmp_path / f"in.{suffix}"))
    mask = np.random.default_rng(0).integers(0, 3, size=SIZES).astype(np.uint8)
    WRITERS[suffix](tmp_path / f"out.{suffix}", mask, source.affine)
    before, after = (sitk.ReadImage(str(tmp_path / f"{name}.{suffix}")) for name in ("in", "out"))
    assert np.array_equal(sitk.GetArrayFromImage(after).transpose(2, 1, 0), mask)
    assert after.GetPixelID() == sitk.sitkUInt8
    for getter in ("GetOrigin", "GetSpacing", "GetDirection"):
        assert np.allclose(getattr(after, getter)(), getattr(before, getter)(), rtol=0, atol=1e-12)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("code", TYPE_NAMES)
def test_every_voxel_type_is_read_and_written_as_by_simpleitk(tmp_path: Path, suffix: str, code: str):
    array = (np.random.default_rng(2).normal(size=SIZES) * 100).astype(code)
    volume = read_volume(write(tmp_path / f"a.{suffix}", array))
    assert volume.array.dtype == np.dtype(code)
    assert np.array_equal(volume.array, array)
    WRITERS[suffix](tmp_path / f"b.{suffix}", array, volume.affine)
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"b.{suffix}")))
    assert image.dtype == np.dtype(code)
    assert np.array_equal(image.transpose(2, 1, 0), array)
    assert np.array_equal(read_volume(tmp_path / f"b.{suffix}").array, array)


def test_axis_orders_match_simpleitk(tmp_path: Path, suffix: str):
    """All 48 orders and signs of the axes."""
    for order, signs in product(permutations(range(3)), product((-1, 1), repeat=3)):
        direction = np.eye(3)[list(order)] * signs
        path = write(tmp_path / f"a.{suffix}", direction=tuple(direction.ravel()))
        assert np.array_equal(read_grid(path).affine, ras_affine(path))


@pytest.mark.parametrize(
    ("space", "signs"),
    [("left-posterior-superior", (-1, -1, 1)), ("RAS", (1, 1, 1)), ("left-anterior-superior", (-1, 1, 1))],
)
def test_nrrd_spaces_match_simpleitk(tmp_path: Path, space: str, signs: tuple):
    path = write(tmp_path / "a.nrrd")
    path.write_bytes(path.read_bytes().replace(b"left-posterior-superior", space.encode()))
    affine = read_grid(path).affine
    assert np.allclose(affine, ras_affine(path), rtol=0, atol=1e-12)
    assert np.allclose(affine[:3, 3], np.array([-30.5, 12.25, 7.0]) * signs, rtol=0, atol=1e-12)


HEAD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 2 3 4\nendian: little\nencoding: raw\n"
VOXELS = np.arange(24, dtype="<i2")
SPACE = "space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\n"


def raw_nrrd(path: Path, fields: str, head: str = HEAD, voxels: bytes = VOXELS.tobytes()) -> Path:
    path.write_bytes(f"{head}{fields}\n".encode() + voxels)
    return path


MINIMA = "spacings: 2 3 4\naxis mins: 5 6 7\n"


@pytest.mark.parametrize("fields", ["", "spacings: 2 3 4\n", MINIMA, f"{MINIMA}centerings: node node node\n"])
def test_nrrd_without_a_space_is_read_with_a_warning(tmp_path: Path, fields: str):
    path = raw_nrrd(tmp_path / "a.nrrd", fields)
    volume = read_volume(path)
    assert np.array_equal(volume.affine, ras_affine(path))
    assert np.array_equal(volume.array, VOXELS.reshape(4, 3, 2).T)
    assert "states no orientation" in volume.issues[0].message


@pytest.mark.parametrize("axis", range(4))
def test_nrrd_component_axis_becomes_the_last(tmp_path: Path, axis: int):
    array = np.random.default_rng(0).integers(-9, 9, (2, 3, 4, 5)).astype("<i2")  # i, j, k, component
    vectors, kinds = ["(1,0,0)", "(0,1,0)", "(0,0,1)"], ["domain"] * 3
    vectors.insert(axis, "none")
    kinds.insert(axis, "vector")
    stored = np.moveaxis(array, 3, axis)
    head = HEAD.replace("dimension: 3", "dimension: 4").replace("2 3 4", " ".join(map(str, stored.shape)))
    fields = f"space: left-posterior-superior\nspace directions: {' '.join(vectors)}\nkinds: {' '.join(kinds)}\n"
    path = raw_nrrd(tmp_path / "a.nrrd", fields, head, stored.tobytes(order="F"))
    assert np.array_equal(read_volume(path).array, array)
    assert read_grid(path).shape == array.shape


@pytest.mark.parametrize("encoding", ["gzip", "gz", "bzip2", "bz2", "raw"])
@pytest.mark.parametrize("endian", ["little", "big"])
def test_nrrd_encodings_and_byte_orders(tmp_path: Path, encoding: str, endian: str):
    voxels = VOXELS.astype("<i2" if endian == "little" else ">i2").tobytes()
    pack = {"g": gzip.compress, "b": bz2.compress, "r": bytes}[encoding[0]]
    head = HEAD.replace("encoding: raw", f"encoding: {encoding}").replace("endian: little", f"endian: {endian}")
    path = raw_nrrd(tmp_path / "a.nrrd", SPACE, head.replace("\n", "\r\n"), pack(voxels))
    assert np.array_equal(read_volume(path).array, VOXELS.reshape(4, 3, 2).T)
    assert read_volume(path).array.dtype.isnative
    for wrong in (path.read_bytes()[:-1], path.read_bytes() + b"\0"):
        path.write_bytes(wrong)
        with pytest.raises(CorruptFileError):
            read_volume(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("type: short", "content: x\rdata file: a.raw\ntype: short"), "control character"),
        (("type: short", "type: short\ntype: short"), "'type' twice"),
        (("space: left-posterior-superior", "space: " + "A" * 5000), "is in the space 'aaaa"),
        (("space: left-posterior-superior", "space: scanner-xyz"), "is in the space 'scanner-xyz'"),
        (("type: short", "colour: red\ntype: short"), "not an NRRD field"),
        (("type: short", "type: block"), "voxel type 'block'"),
        (("2 3 4", "2 3 -4"), "3 positive integers"),
        (("2 3 4", "2 3 99999999999"), "3 positive integers"),
        (("2 3 4", "2 3 4 5"), "3 positive integers"),
        (("dimension: 3", "dimension: 9999999999"), "dimension"),
        (("endian: little\n", ""), "byte order"),
        (("(0,0,1)", "(0,0,nan)"), "3 numbers"),
        (("(0,0,1)", "(0,0,1"), "3 vectors"),
        (("(0,0,1)", "none"), "2 axes"),
        (("(0,0,1)", "(0,0,0)"), "singular"),
        (("encoding: raw", "encoding: raw\nbyte skip: -1"), "skipped bytes"),
        (("encoding: raw", "encoding: raw\ndata file: /etc/passwd"), "another file"),
        (("encoding: raw", "encoding: raw\nkinds: complex domain domain"), "kind 'complex'"),
        (("encoding: raw", 'encoding: raw\nspace units: "um" "um" "um"'), "is in 'um'"),
        (("encoding: raw", "encoding: raw\nspacings: 1 1 1"), "both spacings and space directions"),
        (("NRRD0004", "NRRD0009"), "does not begin with an NRRD header"),
        (("type: short", "content: " + "A" * (1 << 20) + "\ntype: short"), "no end of its header"),
    ],
)
def test_nrrd_rejects_hostile_headers(tmp_path: Path, change: tuple, message: str):
    path = raw_nrrd(tmp_path / "a.nrrd", SPACE)
    read_volume(path)
    path.write_bytes(path.read_bytes().replace(change[0].encode(), change[1].encode(), 1))
    with pytest.raises(DataError, match=message):
        read_volume(path)
    with pytest.raises(DataError, match=message):
        read_grid(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("NDims = 3", "NDims = 99999999999"), "states NDims"),
        (("NDims = 3", "NDims = 2"), "2 axes"),
        (("NDims = 3", "NDims = 3\nNDims = 3"), "'NDims' twice"),
        (("Offset = ", "Position = 1 2 3\nOffset = "), "'Offset' twice"),
        (("DimSize = 6 7 5", "DimSize = 6 7"), "3 positive integers"),
        (("DimSize = 6 7 5", "DimSize = 6 7 " + "9" * 5000), "3 positive integers"),
        (("ElementType = MET_FLOAT", "ElementNumberOfChannels = -1\nElementType = MET_FLOAT"), "number of channels"),
        (("MET_FLOAT", "MET_STRING"), "voxel type 'MET_STRING'"),
        (("ElementSpacing = ", "ElementSpacing = 0 "), "3 numbers"),
        (("BinaryData = True", "BinaryData = False"), "as text"),
        (("BinaryData = True", "BinaryData = True\nHeaderSize = -1"), "skipped bytes"),
        (("BinaryData = True", "BinaryData = True\nElementToIntensityFunctionSlope = 2"), "function from voxels"),
        (("BinaryData = True", "BinaryData = True\nDistanceUnits = um"), "is in 'um'"),
        (("BinaryData = True", "BinaryData = True\rElementDataFile = /etc/passwd"), "control character"),
        (("ElementDataFile = LOCAL", "ElementDataFile = LIST"), "another file"),
        (("ObjectType = Image", "ObjectType = " + "A" * 100_000), "object type"),
        (("ObjectType = Image", "<html>"), "not a MetaImage field"),
    ],
)
def test_mha_rejects_hostile_headers(tmp_path: Path, change: tuple, message: str):
    path = write(tmp_path / "a.mha", packed=False)
    path.write_bytes(path.read_bytes().replace(change[0].encode(), change[1].encode(), 1))
    with pytest.raises(DataError, match=message):
        read_volume(path)
    with pytest.raises(DataError, match=message):
        read_grid(path)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("detached", ["nhdr", "mhd"])
def test_detached_headers_match_simpleitk(tmp_path: Path, detached: str, packed: bool):
    array = np.random.default_rng(3).normal(size=SIZES).astype(np.float32)
    path = write(tmp_path / f"a.{detached}", array, packed)
    assert len(list(tmp_path.iterdir())) == 2
    assert np.array_equal(read_volume(path).array, array)
    assert np.allclose(read_grid(path).affine, ras_affine(path), rtol=0, atol=1e-12)
    (tmp_path / "elsewhere").mkdir()
    os.symlink(path, tmp_path / "elsewhere" / f"b.{detached}")
    assert np.array_equal(read_volume(tmp_path / "elsewhere" / f"b.{detached}").array, array)


@pytest.mark.parametrize("detached", ["nhdr", "mhd"])
def test_detached_headers_read_no_other_file(tmp_path: Path, detached: str):
    (tmp_path / "d").mkdir()
    path = write(tmp_path / "d" / f"a.{detached}", packed=False)
    header = path.read_text()
    (tmp_path / "a.raw").write_bytes(bytes(840))
    (path.parent / "c.raw").write_bytes(bytes(840))
    for name in ("../a.raw", str(tmp_path / "a.raw"), "c.raw", "LIST", "a.%03d.raw 1 1 1", "..", ".", f"a.{detached}"):
        path.write_text(header.replace("a.raw", name))
        with pytest.raises(DataError, match=rf"a\.{detached}: (stores its voxels in|lacks)"):
            read_volume(path)
    path.write_text(header)
    (path.parent / "a.raw").unlink()
    with pytest.raises(DataError, match=r"lacks a\.raw"):
        read_volume(path)
    os.symlink(tmp_path / "a.raw", path.parent / "a.raw")
    with pytest.raises(DataError, match="a link to another folder"):
        read_volume(path)


@pytest.mark.parametrize("detached", ["nhdr", "mhd"])
def test_manifest_covers_the_voxels_of_a_detached_header(tmp_path: Path, detached: str):
    for index in range(2):
        for folder, dtype in (("images", np.float32), ("labels", np.uint8)):
            (tmp_path / folder).mkdir(exist_ok=True)
            array = np.random.default_rng(index).integers(0, 2, SIZES).astype(dtype)
            write(tmp_path / folder / f"c{index}.{detached}", array, packed=False)
    dataset = open_dataset(tmp_path)
    assert [case.images[0].name for case in dataset.cases] == [f"c0.{detached}", f"c1.{detached}"]
    before, sizes = dataset.manifest_hash(), dataset.file_size_hash()
    voxels = tmp_path / "images" / "c1.raw"
    voxels.write_bytes(voxels.read_bytes()[:-4] + b"\1\2\3\4")
    changed = open_dataset(tmp_path)
    assert changed.manifest_hash() != before
    assert changed.file_size_hash() == sizes
    voxels.write_bytes(voxels.read_bytes() + b"\0")
    assert changed.file_size_hash() != sizes
