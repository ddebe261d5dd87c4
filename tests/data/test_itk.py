"""NRRD and MHA files: read completely or refused; outputs are on the grid of the input."""

import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest

from dimlift.data.io.itk import write_itk_volume
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
def test_itk_volume_matches_simpleitk(tmp_path: Path, suffix: str, packed: bool):
    array = np.random.default_rng(1).normal(size=SIZES).astype(np.float32)
    array[0, 0, 0], array[1, 0, 0] = np.nan, np.inf
    path = write(tmp_path / f"a.{suffix}", array, packed)
    volume = read_volume(path)
    assert np.array_equal(volume.array, array, equal_nan=True)
    point = np.array(sitk.ReadImage(str(path)).TransformIndexToPhysicalPoint((3, 2, 4))) * [-1, -1, 1]
    assert np.allclose(volume.affine @ [3, 2, 4, 1], [*point, 1], atol=1e-12)
    assert read_grid(path).shape == SIZES
    assert np.array_equal(read_grid(path).affine, volume.affine)


def test_itk_components_become_channels(tmp_path: Path, suffix: str):
    array = np.random.default_rng(1).normal(size=(*SIZES, 2)).astype(np.float32)
    path = write(tmp_path / f"a.{suffix}", array)
    assert np.array_equal(read_volume(path).array, array)
    assert read_grid(path).shape == (*SIZES, 2)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.6, 0.999])
def test_itk_rejects_truncated_files(tmp_path: Path, suffix: str, fraction: float, packed: bool):
    path = write(tmp_path / f"a.{suffix}", packed=packed)
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(CorruptFileError, match=f"a.{suffix}.*copy it again"):
        read_volume(path)


def test_itk_rejects_missing_checksum_and_trailing_bytes(tmp_path: Path, suffix: str):
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


def test_itk_rejects_flipped_bits(tmp_path: Path, suffix: str):
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


def test_itk_rejects_implausible_size(tmp_path: Path):
    path = write(tmp_path / "a.mha")
    path.write_bytes(path.read_bytes().replace(b"DimSize = 6 7 5", b"DimSize = 9999 9999 9999"))
    with pytest.raises(CorruptFileError, match="states 3998800119996 bytes of voxels in its header, but only 840"):
        read_volume(path)


def test_itk_does_not_decompress_beyond_its_header(tmp_path: Path):
    head, _, _ = write(tmp_path / "a.mha").read_bytes().partition(b"LOCAL\n")
    head = head.replace(b"CompressedDataSize", b"Comment")
    (tmp_path / "b.mha").write_bytes(head + b"LOCAL\n" + zlib.compress(bytes(50_000_000)))
    with pytest.raises(CorruptFileError, match="continues after the 840 bytes"):
        read_volume(tmp_path / "b.mha")


def test_itk_rejects_external_and_text_voxels(tmp_path: Path):
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
def test_itk_rejects_other_formats(tmp_path: Path, suffix: str, content: bytes):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    with pytest.raises(CorruptFileError):
        read_volume(path)


def test_write_itk_volume_keeps_the_grid(tmp_path: Path, suffix: str):
    source = read_volume(write(tmp_path / f"in.{suffix}"))
    mask = np.random.default_rng(0).integers(0, 3, size=SIZES).astype(np.uint8)
    write_itk_volume(tmp_path / f"out.{suffix}", mask, source.affine, source.header)
    before, after = (sitk.ReadImage(str(tmp_path / f"{name}.{suffix}")) for name in ("in", "out"))
    assert np.array_equal(sitk.GetArrayFromImage(after).transpose(2, 1, 0), mask)
    assert after.GetPixelID() == sitk.sitkUInt8
    for getter in ("GetOrigin", "GetSpacing", "GetDirection"):
        assert np.allclose(getattr(after, getter)(), getattr(before, getter)(), rtol=0, atol=1e-12)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
