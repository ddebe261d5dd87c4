"""NIfTI affines that contradict themselves, and masks on other axes or grids than their image."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from small_files import make_image, make_mask, save

from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.io.nifti import read_nifti_grid, read_nifti_volume, write_nifti_labels
from dimlift.data.preprocessing.masks import read_mask
from dimlift.data.quality.check_dataset import check_dataset
from dimlift.data.volume import Volume, require_orthogonal
from dimlift.errors import CorruptFileError, DataError, GeometryMismatchError

SIZES = (6, 7, 5)
AFFINE = np.array([[0, 0, 2.0, -3], [-1.5, 0, 0, 4], [0, 1.1, 0, 9], [0, 0, 0, 1]])


def write(path: Path, affine: np.ndarray = AFFINE, **fields: object) -> Path:
    """Write a file whose sform and qform are `affine`, with some header fields replaced."""
    image = nib.Nifti1Image(make_image(0, SIZES), affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    content = bytearray(image.to_bytes())
    header = nib.Nifti1Header(bytes(content[:348]))
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    path.write_bytes(content)
    return path


def test_consistent_nifti_has_no_issues(tmp_path: Path):
    assert read_nifti_volume(write(tmp_path / "a.nii")).issues == ()


def test_nifti_rejects_contradicting_sform_and_pixdim(tmp_path: Path):
    path = write(tmp_path / "a.nii", pixdim=[1, 1.5, 1.1, 3.0, 0, 0, 0, 0], qform_code=0)
    with pytest.raises(DataError, match=r"1\.5 x 1\.1 x 2 mm by its sform but 1\.5 x 1\.1 x 3 mm by its pixdim"):
        read_nifti_volume(path)
    rounded = write(tmp_path / "b.nii", pixdim=[1, 1.5001, 1.1, 2.0, 0, 0, 0, 0], qform_code=0)
    assert read_nifti_volume(rounded).issues == ()


def test_nifti_compares_sform_and_qform(tmp_path: Path):
    path = write(tmp_path / "a.nii", srow_y=[1.5, 0, 0, 4])
    with pytest.raises(DataError, match="axes ASR by its sform and PSR by its qform"):
        read_nifti_volume(path)
    (issue,) = read_nifti_volume(write(tmp_path / "b.nii", qoffset_x=-5.0)).issues
    assert issue.level == "warning"
    assert "differ by 1.00 voxels (2.00 mm)" in issue.message


def test_nifti_warns_of_missing_orientation(tmp_path: Path):
    (issue,) = read_nifti_volume(write(tmp_path / "a.nii", sform_code=0, qform_code=0)).issues
    assert "left and right" in issue.message


@pytest.mark.parametrize(("unit", "name", "factor"), [(3, "micrometres", 1e-3), (1, "metres", 1e3)])
def test_nifti_converts_other_units_to_millimetres(tmp_path: Path, unit, name, factor):
    in_mm = read_nifti_volume(write(tmp_path / "a.nii"))
    volume = read_nifti_volume(write(tmp_path / "b.nii", xyzt_units=unit))
    np.testing.assert_allclose(volume.affine[:3], factor * in_mm.affine[:3], rtol=1e-6)
    np.testing.assert_allclose(read_nifti_grid(tmp_path / "b.nii").affine, volume.affine)
    (issue,) = volume.issues
    assert (issue.level, name in issue.message) == ("warning", True)
    labels = np.ones(volume.shape, np.uint8)
    written = read_nifti_volume(write_nifti_labels(tmp_path / "c.nii", labels, volume.affine, volume.header))
    np.testing.assert_allclose(written.affine, volume.affine, rtol=1e-6)
    assert written.header.get_xyzt_units()[0] == "mm"
    assert written.issues == ()


def test_nifti_rejects_invalid_quaternion(tmp_path: Path):
    with pytest.raises(CorruptFileError, match="invalid orientation"):
        read_nifti_volume(write(tmp_path / "b.nii", sform_code=0, quatern_b=3.0))


def test_nifti_rejects_sheared_affine(tmp_path: Path):
    sheared = AFFINE.copy()
    sheared[:3, 2] += [0, 2.0 * np.tan(np.radians(10)), 0]
    with pytest.raises(DataError, match=r"10\.00 degrees off"):
        read_nifti_volume(save(tmp_path / "a.nii", make_image(0, SIZES), sheared))
    near = AFFINE.copy()
    near[:3, 2] += 0.005
    require_orthogonal(Path("a"), SIZES, near)
    with pytest.raises(DataError, match="sheared"):  # the same angle exceeds rounding over more voxels
        require_orthogonal(Path("a"), (600, 700, 500), near)


@pytest.mark.parametrize("order", ["LPS", "SAR", "PIL"])
def test_read_mask_reorients_to_image(tmp_path: Path, order: str):
    image = read_nifti_volume(save(tmp_path / "image.nii", make_image(0, SIZES), AFFINE))
    mask = nib.Nifti1Image(make_mask(0, SIZES), AFFINE)
    transform = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(AFFINE), nib.orientations.axcodes2ornt(order)
    )
    reoriented = mask.as_reoriented(transform)
    assert reoriented.shape != mask.shape or not np.array_equal(reoriented.affine, AFFINE)
    nib.save(reoriented, tmp_path / "mask.nii")
    found = read_mask(tmp_path / "mask.nii", image)
    assert np.array_equal(found.array, mask.get_fdata())
    assert np.allclose(found.affine, AFFINE, atol=1e-5)


def test_read_mask_resamples_on_request(tmp_path: Path):
    """At half the spacing and with the same corner, every image voxel covers eight equal mask voxels."""
    image = Volume(make_image(0, SIZES), AFFINE, Path("image.nii"))
    coarse = make_mask(0, SIZES)
    fine_affine = AFFINE @ np.diag([0.5, 0.5, 0.5, 1])
    fine_affine[:3, 3] += AFFINE[:3, :3] @ ([-0.25] * 3)
    path = save(tmp_path / "mask.nii", np.kron(coarse, np.ones((2, 2, 2), np.uint8)), fine_affine)
    with pytest.raises(GeometryMismatchError, match="12 x 14 x 10 voxels"):
        read_mask(path, image)
    found = read_mask(path, image, resample=True)
    assert np.array_equal(found.array, coarse)
    assert ["on another grid" in issue.message for issue in found.issues] == [True]
    far = AFFINE.copy()
    far[0, 3] += 500
    with pytest.raises(GeometryMismatchError, match="is outside of"):
        read_mask(save(tmp_path / "far.nii", coarse, far), image, resample=True)


def test_check_dataset_warns_of_resampled_masks(plain_folder):
    root = plain_folder(affine=AFFINE)
    save(root / "labels" / "case_1.nii.gz", make_mask(1), AFFINE @ np.diag([1, 1, 2.0, 1]))
    (refused,) = [found for found in check_dataset(open_dataset(root)) if found.level == "error"]
    assert "voxels" in refused.message
    (resampled,) = check_dataset(open_dataset(root), resample_labels=True)
    assert resampled.level == "warning"
    assert "another grid" in resampled.message
