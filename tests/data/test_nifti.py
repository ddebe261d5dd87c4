"""NIfTI files: read completely or refused; labels, NaN policies, writing, grids."""

import contextlib
import gzip
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dimlift.data.io.nifti import READ_BYTES, read_nifti_volume, write_nifti_labels, write_nifti_volume
from dimlift.data.volume import Volume, corner_distance, require_same_grid
from dimlift.data.voxel_checks import apply_nan_policy, integer_labels, require_known_labels
from dimlift.errors import CorruptFileError, DataError, DimliftError, GeometryMismatchError, UnknownNameError

_COS, _SIN = np.cos(0.3), np.sin(0.3)
OBLIQUE = np.array(
    [[1.1 * _COS, -0.9 * _SIN, 0, -7.0], [1.1 * _SIN, 0.9 * _COS, 0, 4.0], [0, 0, 2.5, 11.0], [0, 0, 0, 1]]
)


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / "brain.nii.gz"
    array = np.random.default_rng(0).normal(size=(60, 61, 62)).astype(np.float32)
    nib.save(nib.Nifti1Image(array, OBLIQUE), path)
    return path


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.6, 0.999])
def test_nifti_rejects_truncated_gzip(packed: Path, fraction: float):
    content = packed.read_bytes()
    packed.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(CorruptFileError, match="download or copy it again") as caught:
        read_nifti_volume(packed)
    assert str(packed) in str(caught.value)
    if fraction >= 0.6:
        wanted = 352 + 4 * 60 * 61 * 62
        found = int(re.search(rf"(\d+) bytes found, {wanted} expected", str(caught.value))[1])  # type: ignore[index]
        assert fraction * wanted - READ_BYTES - 2000 < found < wanted


def test_nifti_rejects_too_few_voxels(packed: Path):
    content = gzip.decompress(packed.read_bytes())
    packed.write_bytes(gzip.compress(content[:-10]))
    with pytest.raises(CorruptFileError, match=f"{len(content) - 10} bytes found, {len(content)} expected"):
        read_nifti_volume(packed)


def test_nifti_rejects_truncated_file(packed: Path):
    content = gzip.decompress(packed.read_bytes())
    path = packed.with_name("brain.nii")
    path.write_bytes(content[:20_000])
    with pytest.raises(CorruptFileError, match=f"states {len(content)} bytes in its header, but the file has 20000"):
        read_nifti_volume(path)


def test_nifti_rejects_missing_checksum(packed: Path):
    packed.write_bytes(packed.read_bytes()[:-8])
    with pytest.raises(CorruptFileError):
        read_nifti_volume(packed)


def test_nifti_rejects_flipped_bits(packed: Path):
    content = packed.read_bytes()
    for position in np.linspace(20, len(content) - 1, 25).astype(int):
        flipped = bytearray(content)
        flipped[position] ^= 4
        packed.write_bytes(flipped)
        with pytest.raises(DataError):
            read_nifti_volume(packed)


def test_nifti_verifies_the_checksum(tmp_path: Path):
    """In stored (uncompressed) gzip blocks a flipped bit changes a voxel, which only the checksum reveals."""
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    stored = bytearray(gzip.compress(image.to_bytes(), compresslevel=0))
    stored[-20] ^= 1
    path = tmp_path / "a.nii.gz"
    path.write_bytes(stored)
    with pytest.raises(CorruptFileError, match="CRC"):
        read_nifti_volume(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_rejects_trailing_bytes(packed: Path, suffix: str):
    content = gzip.decompress(packed.read_bytes()) + b"more"
    path = packed.with_name(f"long{suffix}")
    path.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
    with pytest.raises(CorruptFileError, match="continues after"):
        read_nifti_volume(path)


def test_nifti_rejects_implausible_size(packed: Path):
    content = bytearray(gzip.decompress(packed.read_bytes()))
    content[42:48] = np.array([32767] * 3, dtype="<i2").tobytes()
    packed.write_bytes(gzip.compress(content))
    with pytest.raises(CorruptFileError, match="cannot decompress to so many"):
        read_nifti_volume(packed)


def test_nifti_does_not_decompress_beyond_its_header(tmp_path: Path):
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4))
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(image.to_bytes() + bytes(50_000_000)))
    with pytest.raises(CorruptFileError, match="continues after the 360 bytes"):
        read_nifti_volume(path)


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"<html>" * 100, bytes(348)])
def test_nifti_rejects_other_formats(tmp_path: Path, content: bytes):
    path = tmp_path / "a.nii"
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"a\.nii"):
        read_nifti_volume(path)


def test_nifti_reports_missing_file(tmp_path: Path):
    with pytest.raises(DataError, match="does not exist"):
        read_nifti_volume(tmp_path / "absent.nii.gz")


@pytest.mark.parametrize("kind", [np.complex64, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])])
def test_nifti_rejects_complex_and_rgb(tmp_path: Path, kind: np.dtype):
    nib.save(nib.Nifti1Image(np.zeros((2, 3, 4), kind), np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match="one real number per voxel"):
        read_nifti_volume(tmp_path / "a.nii.gz")


def test_nifti_rejects_singular_affine(tmp_path: Path):
    affine = np.eye(4)
    affine[:3, 2] = affine[:3, 1]
    nib.save(nib.Nifti1Image(np.zeros((2, 3, 4), np.uint8), affine), tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match="singular or not finite"):
        read_nifti_volume(tmp_path / "a.nii.gz")


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 351), value=st.integers(0, 255))
def test_nifti_header_fuzzing(tmp_path_factory: pytest.TempPathFactory, position: int, value: int):
    path = tmp_path_factory.mktemp("fuzz") / "a.nii"
    content = bytearray(nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), OBLIQUE).to_bytes())
    content[position] = value
    path.write_bytes(content)
    with contextlib.suppress(DimliftError):  # any other exception fails the test
        volume = read_nifti_volume(path)
        assert volume.array.ndim in (3, 4)
        assert np.isfinite(volume.affine).all()


@pytest.mark.parametrize("kind", ["u1", "<i2", ">i2", "<f4", ">f8"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_matches_nibabel(tmp_path: Path, kind: str, suffix: str):
    array = np.random.default_rng(1).integers(0, 100, size=(4, 5, 6, 2)).astype(kind)
    header = nib.Nifti1Header(endianness=np.dtype(kind).newbyteorder("=").byteorder if kind == "u1" else kind[0])
    header.set_data_dtype(array.dtype)
    nib.save(nib.Nifti1Image(array, OBLIQUE, header), tmp_path / f"a{suffix}")
    volume = read_nifti_volume(tmp_path / f"a{suffix}")
    assert np.array_equal(volume.array, array)
    assert np.allclose(volume.affine, OBLIQUE)
    assert volume.shape == (4, 5, 6)


def test_nifti_reads_nifti_2(tmp_path: Path):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    nib.save(nib.Nifti2Image(array, OBLIQUE), tmp_path / "a.nii.gz")
    assert np.array_equal(read_nifti_volume(tmp_path / "a.nii.gz").array, array)


def test_integer_labels_rounds_scaled_labels(tmp_path: Path):
    image = nib.Nifti1Image(np.array([0.0, 1.0, 2.0, 3.0]).reshape(4, 1, 1), np.eye(4))
    image.set_data_dtype(np.int32)
    nib.save(image, tmp_path / "a.nii.gz")
    volume = read_nifti_volume(tmp_path / "a.nii.gz")
    assert not np.array_equal(volume.array.ravel(), [0, 1, 2, 3])  # 1.0000000196, within the tolerance
    assert integer_labels(volume).ravel().tolist() == [0, 1, 2, 3]
    below = Volume(np.array([[[0.9999999, 2.9999]]]), np.eye(4), tmp_path / "b.nii.gz")
    assert integer_labels(below).ravel().tolist() == [1, 3]


def test_integer_labels_rejects_probabilities(tmp_path: Path):
    volume = Volume(np.array([[[0.0, 0.4, 1.0]]]), np.eye(4), tmp_path / "p.nii.gz")
    with pytest.raises(DataError, match=r"p\.nii\.gz: holds values that are not integers \(0\.4\)"):
        integer_labels(volume)


def test_integer_labels_rejects_nan(tmp_path: Path):
    with pytest.raises(DataError, match="1 NaN"):
        integer_labels(Volume(np.array([[[0.0, np.nan]]]), np.eye(4), tmp_path / "p.nii.gz"))


def test_require_known_labels_reports_counts():
    with pytest.raises(DataError, match=r"outside the list \[0, 1\]: 7 in 2 voxels"):
        require_known_labels(Path("m.nii.gz"), np.array([0, 1, 7, 7], np.int32), [0, 1])


def test_apply_nan_policy():
    image = np.array([1.0, np.nan, 3.0, np.inf], np.float32)
    with pytest.raises(DataError, match="2 NaN or infinite voxels of 4"):
        apply_nan_policy(image, Path("a"), "error")
    for policy in ("replace", "mask"):
        repositiond, mask = apply_nan_policy(image, Path("a"), policy)
        assert repositiond.tolist() == [1, 1, 3, 1]
        assert mask is not None
        assert mask.tolist() == [False, True, False, True]
    with pytest.raises(UnknownNameError, match="replace"):
        apply_nan_policy(image, Path("a"), "ignore")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no finite voxel"):
        apply_nan_policy(np.full(3, np.nan, np.float32), Path("a"), "replace")


def test_write_nifti_labels_keeps_the_grid(tmp_path: Path, packed: Path):
    source = read_nifti_volume(packed)
    written = write_nifti_labels(
        tmp_path / "out" / "a.nii.gz", np.ones(source.shape, np.int16), source.affine, source.header
    )
    before, after = nib.load(packed), nib.load(written)
    assert np.array_equal(before.affine, after.affine)
    for code in ("qform_code", "sform_code", "xyzt_units"):
        assert before.header[code] == after.header[code]
    assert np.array_equal(before.header.get_qform(), after.header.get_qform())
    assert after.get_data_dtype() == np.uint8
    assert not list((tmp_path / "out").glob(".*"))


def test_write_nifti_labels_keeps_absent_codes(tmp_path: Path):
    header = nib.Nifti1Header()
    header.set_data_shape((4, 5, 6))
    header.set_data_dtype(np.uint8)
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), None, header)
    nib.save(image, tmp_path / "a.nii")
    source = read_nifti_volume(tmp_path / "a.nii")
    write_nifti_labels(tmp_path / "b.nii", source.array, source.affine, source.header)
    after = nib.load(tmp_path / "b.nii")
    assert int(after.header["sform_code"]) == int(nib.load(tmp_path / "a.nii").header["sform_code"]) == 0
    assert np.array_equal(after.affine, source.affine)


def test_write_nifti_labels_is_deterministic(tmp_path: Path):
    mask = np.random.default_rng(0).integers(0, 3, size=(5, 6, 7))
    first = write_nifti_labels(tmp_path / "a.nii.gz", mask, OBLIQUE).read_bytes()
    assert write_nifti_labels(tmp_path / "b.nii.gz", mask, OBLIQUE).read_bytes() == first
    assert first[4:8] == bytes(4)  # no timestamp in the gzip header


def test_write_nifti_labels_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_nifti_labels(tmp_path / "a.nii.gz", np.zeros((2, 2, 2), np.uint8), OBLIQUE)
    before = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_nifti_labels(path, np.ones((2, 2, 2), np.uint8), OBLIQUE)
    assert path.read_bytes() == before
    assert [child.name for child in tmp_path.iterdir()] == ["a.nii.gz"]


def test_write_nifti_labels_uses_smallest_type(tmp_path: Path):
    for values, kind in (([0, 255], np.uint8), ([-1, 3], np.int16), ([0, 70_000], np.int32)):
        write_nifti_labels(tmp_path / "a.nii", np.array(values).reshape(2, 1, 1), OBLIQUE)
        assert nib.load(tmp_path / "a.nii").get_data_dtype() == kind
    with pytest.raises(DataError, match="argmax"):
        write_nifti_labels(tmp_path / "a.nii", np.zeros((2, 1, 1), np.float32), OBLIQUE)
    with pytest.raises(DataError, match=r"\.nii\.gz"):
        write_nifti_volume(tmp_path / "a.png", np.zeros((2, 1, 1), np.uint8), OBLIQUE)


def test_corner_distance_in_voxels_and_millimetres():
    affine = np.diag([0.5, 0.5, 3.0, 1.0])
    other = affine.copy()
    other[2, 3] = 1.5
    voxels, millimetres = corner_distance((10, 10, 4), affine, other)
    assert voxels == pytest.approx(0.5)
    assert millimetres == pytest.approx(1.5)


def test_corner_distance_uses_the_farthest_corner():
    """A small rotation about one outer corner moves the opposite corner by angle x diagonal."""
    angle = 0.01
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    corner = np.eye(4)
    corner[:3, 3] = -0.5
    voxels, _ = corner_distance((30, 40, 1), np.eye(4), corner @ rotation @ np.linalg.inv(corner))
    assert voxels == pytest.approx(angle * 50, rel=1e-4)


def test_require_same_grid_compares_voxels():
    image = Volume(np.zeros((4, 4, 4)), np.diag([0.05, 0.05, 0.05, 1.0]), Path("image.nii.gz"))
    moved = image.affine.copy()
    moved[0, 3] = 0.02
    with pytest.raises(GeometryMismatchError, match=r"0\.40 voxels"):
        require_same_grid(image, Volume(np.zeros((4, 4, 4)), moved, Path("mask.nii.gz")))


def test_require_same_grid_accepts_rounding():
    image = Volume(np.zeros((10, 10, 4)), np.diag([0.5, 0.5, 3.0, 1.0]), Path("image.nii.gz"))
    near = image.affine.copy()
    near[:3, 3] += 0.01
    require_same_grid(image, Volume(np.zeros((10, 10, 4)), near, Path("mask.nii.gz")))
    far = image.affine.copy()
    far[2, 3] = 1.5
    with pytest.raises(
        GeometryMismatchError, match=r"mask\.nii\.gz: is displaced by 0\.50 voxels \(1\.50 mm\) from image\.nii\.gz"
    ):
        require_same_grid(image, Volume(np.zeros((10, 10, 4)), far, Path("mask.nii.gz")))
    with pytest.raises(GeometryMismatchError, match=r"10 x 10 x 5 voxels, but image\.nii\.gz has 10 x 10 x 4"):
        require_same_grid(image, Volume(np.zeros((10, 10, 5)), near, Path("mask.nii.gz")))


def test_nifti_is_decompressed_by_content(tmp_path: Path):
    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    nib.save(image, tmp_path / "a.nii")
    nib.save(image, tmp_path / "b.nii.gz")
    (tmp_path / "a.nii").rename(tmp_path / "plain.nii.gz")
    (tmp_path / "b.nii.gz").rename(tmp_path / "compressed.nii")
    for name in ("plain.nii.gz", "compressed.nii"):
        np.testing.assert_array_equal(read_nifti_volume(tmp_path / name).array, np.asarray(image.dataobj))
