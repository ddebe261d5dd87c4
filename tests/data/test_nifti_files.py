"""A NIfTI file is read whole or refused: never zero-filled, never with a wrong voxel."""

import contextlib
import gzip
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dimlift.data.io.nifti import PIECE, read_volume, write_labels, write_volume
from dimlift.data.volume import Volume, corner_distance, require_same_grid
from dimlift.data.voxel_checks import read_integers, require_listed, settle_non_finite
from dimlift.errors import DamagedFile, DataError, DimliftError, GeometryMismatch, UnknownName

_TILT, _TURN = np.cos(0.3), np.sin(0.3)
OBLIQUE = np.array(
    [[1.1 * _TILT, -0.9 * _TURN, 0, -7.0], [1.1 * _TURN, 0.9 * _TILT, 0, 4.0], [0, 0, 2.5, 11.0], [0, 0, 0, 1]]
)


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / "brain.nii.gz"
    array = np.random.default_rng(0).normal(size=(60, 61, 62)).astype(np.float32)
    nib.save(nib.Nifti1Image(array, OBLIQUE), path)
    return path


@pytest.mark.parametrize("share", [0.0, 0.001, 0.6, 0.999])
def test_a_cut_gzip_stream_is_refused_with_both_lengths(packed: Path, share: float):
    content = packed.read_bytes()
    packed.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DamagedFile, match="download or copy it again") as caught:
        read_volume(packed)
    assert str(packed) in str(caught.value)
    if share >= 0.6:
        wanted = 352 + 4 * 60 * 61 * 62
        found = int(re.search(rf"(\d+) bytes found, {wanted} expected", str(caught.value))[1])  # type: ignore[index]
        assert share * wanted - PIECE - 2000 < found < wanted


def test_a_whole_gzip_stream_of_too_few_voxels_is_refused(packed: Path):
    content = gzip.decompress(packed.read_bytes())
    packed.write_bytes(gzip.compress(content[:-10]))
    with pytest.raises(DamagedFile, match=f"{len(content) - 10} bytes found, {len(content)} expected"):
        read_volume(packed)


def test_a_cut_plain_file_is_refused_with_both_lengths(packed: Path):
    content = gzip.decompress(packed.read_bytes())
    path = packed.with_name("brain.nii")
    path.write_bytes(content[:20_000])
    with pytest.raises(DamagedFile, match=f"states {len(content)} bytes, but the file has 20000"):
        read_volume(path)


def test_a_missing_checksum_is_refused(packed: Path):
    packed.write_bytes(packed.read_bytes()[:-8])
    with pytest.raises(DamagedFile):
        read_volume(packed)


def test_a_flipped_bit_is_refused_wherever_it_lies(packed: Path):
    content = packed.read_bytes()
    for place in np.linspace(20, len(content) - 1, 25).astype(int):
        flipped = bytearray(content)
        flipped[place] ^= 4
        packed.write_bytes(flipped)
        with pytest.raises(DataError):
            read_volume(packed)


def test_a_wrong_voxel_that_only_the_checksum_shows_is_refused(tmp_path: Path):
    """Stored (not compressed) gzip blocks: a flipped bit changes a voxel and nothing but the checksum shows it."""
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    stored = bytearray(gzip.compress(image.to_bytes(), compresslevel=0))
    stored[-20] ^= 1
    path = tmp_path / "a.nii.gz"
    path.write_bytes(stored)
    with pytest.raises(DamagedFile, match="CRC"):
        read_volume(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_bytes_after_the_last_voxel_are_refused(packed: Path, suffix: str):
    content = gzip.decompress(packed.read_bytes()) + b"more"
    path = packed.with_name(f"long{suffix}")
    path.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
    with pytest.raises(DamagedFile, match="goes on after"):
        read_volume(path)


def test_a_header_of_absurd_size_is_refused_before_anything_is_allocated(packed: Path):
    content = bytearray(gzip.decompress(packed.read_bytes()))
    content[42:48] = np.array([32767] * 3, dtype="<i2").tobytes()
    packed.write_bytes(gzip.compress(content))
    with pytest.raises(DamagedFile, match="cannot unpack to so many"):
        read_volume(packed)


def test_a_bomb_is_not_unpacked_beyond_its_header(tmp_path: Path):
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4))
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(image.to_bytes() + bytes(50_000_000)))
    with pytest.raises(DamagedFile, match="goes on after the 360 bytes"):
        read_volume(path)


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"<html>" * 100, bytes(348)])
def test_files_that_are_no_nifti_are_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "a.nii"
    path.write_bytes(content)
    with pytest.raises(DamagedFile, match=r"a\.nii"):
        read_volume(path)


def test_a_plain_file_named_gz_is_refused(tmp_path: Path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)).to_bytes())
    with pytest.raises(DamagedFile, match="gzip"):
        read_volume(path)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(DataError, match="no such file"):
        read_volume(tmp_path / "absent.nii.gz")


@pytest.mark.parametrize("kind", [np.complex64, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])])
def test_voxels_that_are_no_real_numbers_are_refused(tmp_path: Path, kind: np.dtype):
    nib.save(nib.Nifti1Image(np.zeros((2, 3, 4), kind), np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match="one real number each"):
        read_volume(tmp_path / "a.nii.gz")


def test_a_flat_affine_is_refused(tmp_path: Path):
    affine = np.eye(4)
    affine[:3, 2] = affine[:3, 1]
    nib.save(nib.Nifti1Image(np.zeros((2, 3, 4), np.uint8), affine), tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match="no frame in space"):
        read_volume(tmp_path / "a.nii.gz")


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, 351), value=st.integers(0, 255))
def test_any_byte_of_the_header_may_be_wrong(tmp_path_factory: pytest.TempPathFactory, place: int, value: int):
    path = tmp_path_factory.mktemp("fuzz") / "a.nii"
    content = bytearray(nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), OBLIQUE).to_bytes())
    content[place] = value
    path.write_bytes(content)
    with contextlib.suppress(DimliftError):  # any other exception fails the test
        volume = read_volume(path)
        assert volume.array.ndim in (3, 4)
        assert np.isfinite(volume.affine).all()


@pytest.mark.parametrize("kind", ["u1", "<i2", ">i2", "<f4", ">f8"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_it_reads_what_nibabel_wrote(tmp_path: Path, kind: str, suffix: str):
    array = np.random.default_rng(1).integers(0, 100, size=(4, 5, 6, 2)).astype(kind)
    header = nib.Nifti1Header(endianness=np.dtype(kind).newbyteorder("=").byteorder if kind == "u1" else kind[0])
    header.set_data_dtype(array.dtype)
    nib.save(nib.Nifti1Image(array, OBLIQUE, header), tmp_path / f"a{suffix}")
    volume = read_volume(tmp_path / f"a{suffix}")
    assert np.array_equal(volume.array, array)
    assert np.allclose(volume.affine, OBLIQUE)
    assert volume.shape == (4, 5, 6)


def test_nifti_2_is_read(tmp_path: Path):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    nib.save(nib.Nifti2Image(array, OBLIQUE), tmp_path / "a.nii.gz")
    assert np.array_equal(read_volume(tmp_path / "a.nii.gz").array, array)


def test_labels_saved_through_an_intensity_scale_are_whole_again(tmp_path: Path):
    image = nib.Nifti1Image(np.array([0.0, 1.0, 2.0, 3.0]).reshape(4, 1, 1), np.eye(4))
    image.set_data_dtype(np.int32)
    nib.save(image, tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    assert not np.array_equal(volume.array.ravel(), [0, 1, 2, 3])  # 1.0000000196: what the tolerance is for
    assert read_integers(volume).ravel().tolist() == [0, 1, 2, 3]
    below = Volume(np.array([[[0.9999999, 2.9999]]]), np.eye(4), tmp_path / "b.nii.gz")
    assert read_integers(below).ravel().tolist() == [1, 3]


def test_labels_that_are_probabilities_are_refused(tmp_path: Path):
    volume = Volume(np.array([[[0.0, 0.4, 1.0]]]), np.eye(4), tmp_path / "p.nii.gz")
    with pytest.raises(DataError, match=r"p\.nii\.gz: holds values that are no whole numbers \(0\.4\)"):
        read_integers(volume)


def test_labels_with_nan_are_refused(tmp_path: Path):
    with pytest.raises(DataError, match="1 NaN"):
        read_integers(Volume(np.array([[[0.0, np.nan]]]), np.eye(4), tmp_path / "p.nii.gz"))


def test_labels_outside_the_list_are_named_with_their_count():
    with pytest.raises(DataError, match=r"outside the list \[0, 1\]: 7 in 2 voxels"):
        require_listed(Path("m.nii.gz"), np.array([0, 1, 7, 7], np.int32), [0, 1])


def test_policies_for_nan_and_infinity():
    image = np.array([1.0, np.nan, 3.0, np.inf], np.float32)
    with pytest.raises(DataError, match="2 NaN or infinite voxels of 4"):
        settle_non_finite(image, Path("a"), "error")
    for policy in ("replace", "mask"):
        settled, bad = settle_non_finite(image, Path("a"), policy)
        assert settled.tolist() == [1, 1, 3, 1]
        assert bad is not None
        assert bad.tolist() == [False, True, False, True]
    with pytest.raises(UnknownName, match="replace"):
        settle_non_finite(image, Path("a"), "ignore")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no finite voxel"):
        settle_non_finite(np.full(3, np.nan, np.float32), Path("a"), "replace")


def test_written_labels_lie_on_the_grid_of_the_input(tmp_path: Path, packed: Path):
    source = read_volume(packed)
    written = write_labels(tmp_path / "out" / "a.nii.gz", np.ones(source.shape, np.int16), source.affine, source.header)
    before, after = nib.load(packed), nib.load(written)
    assert np.array_equal(before.affine, after.affine)
    for code in ("qform_code", "sform_code", "xyzt_units"):
        assert before.header[code] == after.header[code]
    assert np.array_equal(before.header.get_qform(), after.header.get_qform())
    assert after.get_data_dtype() == np.uint8
    assert not list((tmp_path / "out").glob(".*"))


def test_without_codes_the_output_has_none_either(tmp_path: Path):
    header = nib.Nifti1Header()
    header.set_data_shape((4, 5, 6))
    header.set_data_dtype(np.uint8)
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), None, header)
    nib.save(image, tmp_path / "a.nii")
    source = read_volume(tmp_path / "a.nii")
    write_labels(tmp_path / "b.nii", source.array, source.affine, source.header)
    after = nib.load(tmp_path / "b.nii")
    assert int(after.header["sform_code"]) == int(nib.load(tmp_path / "a.nii").header["sform_code"]) == 0
    assert np.array_equal(after.affine, source.affine)


def test_the_same_labels_give_the_same_bytes(tmp_path: Path):
    mask = np.random.default_rng(0).integers(0, 3, size=(5, 6, 7))
    first = write_labels(tmp_path / "a.nii.gz", mask, OBLIQUE).read_bytes()
    assert write_labels(tmp_path / "b.nii.gz", mask, OBLIQUE).read_bytes() == first
    assert first[4:8] == bytes(4)  # no time of day in the gzip header


def test_a_failed_write_leaves_the_old_file_and_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_labels(tmp_path / "a.nii.gz", np.zeros((2, 2, 2), np.uint8), OBLIQUE)
    before = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_labels(path, np.ones((2, 2, 2), np.uint8), OBLIQUE)
    assert path.read_bytes() == before
    assert [child.name for child in tmp_path.iterdir()] == ["a.nii.gz"]


def test_label_types_are_the_smallest_that_hold_the_values(tmp_path: Path):
    for values, kind in (([0, 255], np.uint8), ([-1, 3], np.int16), ([0, 70_000], np.int32)):
        write_labels(tmp_path / "a.nii", np.array(values).reshape(2, 1, 1), OBLIQUE)
        assert nib.load(tmp_path / "a.nii").get_data_dtype() == kind
    with pytest.raises(DataError, match="argmax"):
        write_labels(tmp_path / "a.nii", np.zeros((2, 1, 1), np.float32), OBLIQUE)
    with pytest.raises(DataError, match=r"\.nii\.gz"):
        write_volume(tmp_path / "a.png", np.zeros((2, 1, 1), np.uint8), OBLIQUE)


def test_distance_between_grids_in_voxels_and_millimetres():
    affine = np.diag([0.5, 0.5, 3.0, 1.0])
    other = affine.copy()
    other[2, 3] = 1.5
    voxels, millimetres = corner_distance((10, 10, 4), affine, other)
    assert voxels == pytest.approx(0.5)
    assert millimetres == pytest.approx(1.5)


def test_the_distance_is_that_of_the_farthest_corner():
    """Turned about the first voxel's outer corner by a small angle: the opposite corner moves by angle x diagonal."""
    angle = 0.01
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    corner = np.eye(4)
    corner[:3, 3] = -0.5
    voxels, _ = corner_distance((30, 40, 1), np.eye(4), corner @ turn @ np.linalg.inv(corner))
    assert voxels == pytest.approx(angle * 50, rel=1e-4)


def test_small_voxels_are_compared_in_voxels():
    image = Volume(np.zeros((4, 4, 4)), np.diag([0.05, 0.05, 0.05, 1.0]), Path("image.nii.gz"))
    moved = image.affine.copy()
    moved[0, 3] = 0.02
    with pytest.raises(GeometryMismatch, match=r"0\.40 voxels"):
        require_same_grid(image, Volume(np.zeros((4, 4, 4)), moved, Path("mask.nii.gz")))


def test_grids_that_differ_are_refused_and_rounding_is_not():
    image = Volume(np.zeros((10, 10, 4)), np.diag([0.5, 0.5, 3.0, 1.0]), Path("image.nii.gz"))
    near = image.affine.copy()
    near[:3, 3] += 0.01
    require_same_grid(image, Volume(np.zeros((10, 10, 4)), near, Path("mask.nii.gz")))
    far = image.affine.copy()
    far[2, 3] = 1.5
    with pytest.raises(
        GeometryMismatch, match=r"mask\.nii\.gz: lies 0\.50 voxels \(1\.50 mm\) away from image\.nii\.gz"
    ):
        require_same_grid(image, Volume(np.zeros((10, 10, 4)), far, Path("mask.nii.gz")))
    with pytest.raises(GeometryMismatch, match=r"10 x 10 x 5 voxels, but image\.nii\.gz has 10 x 10 x 4"):
        require_same_grid(image, Volume(np.zeros((10, 10, 5)), near, Path("mask.nii.gz")))
