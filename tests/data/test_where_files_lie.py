"""Files that contradict themselves or their image about where they lie: refused, remarked or turned, not guessed."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from small_files import make_image, make_mask, save

from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.io.nifti import read_volume
from dimlift.data.preprocessing.masks import read_mask
from dimlift.data.quality.check_dataset import check_dataset
from dimlift.data.volume import Volume, require_upright
from dimlift.errors import DamagedFile, DataError, GeometryMismatch

SIZES = (6, 7, 5)
AFFINE = np.array([[0, 0, 2.0, -3], [-1.5, 0, 0, 4], [0, 1.1, 0, 9], [0, 0, 0, 1]])


def write(path: Path, affine: np.ndarray = AFFINE, **fields: object) -> Path:
    """A file whose sform and qform are `affine`, then changed by hand."""
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


def test_a_file_that_agrees_with_itself_has_no_remark(tmp_path: Path):
    assert read_volume(write(tmp_path / "a.nii")).remarks == ()


def test_sform_and_pixdim_that_state_other_sizes_are_refused(tmp_path: Path):
    path = write(tmp_path / "a.nii", pixdim=[1, 1.5, 1.1, 3.0, 0, 0, 0, 0], qform_code=0)
    with pytest.raises(DataError, match=r"1\.5 x 1\.1 x 2 mm by its sform but 1\.5 x 1\.1 x 3 mm by its pixdim"):
        read_volume(path)
    rounded = write(tmp_path / "b.nii", pixdim=[1, 1.5001, 1.1, 2.0, 0, 0, 0, 0], qform_code=0)
    assert read_volume(rounded).remarks == ()


def test_sform_and_qform_along_other_axes_are_refused_and_apart_are_remarked_upon(tmp_path: Path):
    path = write(tmp_path / "a.nii", srow_y=[1.5, 0, 0, 4])
    with pytest.raises(DataError, match="along ASR by its sform and along PSR by its qform"):
        read_volume(path)
    (remark,) = read_volume(write(tmp_path / "b.nii", qoffset_x=-5.0)).remarks
    assert remark.level == "warning"
    assert "1.00 voxels (2.00 mm) apart" in remark.finding


def test_without_codes_the_orientation_is_called_a_guess(tmp_path: Path):
    (remark,) = read_volume(write(tmp_path / "a.nii", sform_code=0, qform_code=0)).remarks
    assert "left and right" in remark.finding


def test_other_units_and_a_quaternion_that_is_none_are_refused(tmp_path: Path):
    with pytest.raises(DataError, match="micrometres"):
        read_volume(write(tmp_path / "a.nii", xyzt_units=3))
    with pytest.raises(DamagedFile, match="orientation cannot be understood"):
        read_volume(write(tmp_path / "b.nii", sform_code=0, quatern_b=3.0))


def test_axes_that_lean_are_refused_with_the_angle_and_rounding_is_not(tmp_path: Path):
    leaning = AFFINE.copy()
    leaning[:3, 2] += [0, 2.0 * np.tan(np.radians(10)), 0]
    with pytest.raises(DataError, match=r"lean by 10\.00 degrees"):
        read_volume(save(tmp_path / "a.nii", make_image(0, SIZES), leaning))
    near = AFFINE.copy()
    near[:3, 2] += 0.005
    require_upright(Path("a"), SIZES, near)
    with pytest.raises(DataError, match="lean"):  # the same angle over more voxels is no rounding any more
        require_upright(Path("a"), (600, 700, 500), near)


@pytest.mark.parametrize("order", ["LPS", "SAR", "PIL"])
def test_a_mask_on_other_axes_of_the_same_grid_is_turned_without_a_changed_voxel(tmp_path: Path, order: str):
    image = read_volume(save(tmp_path / "image.nii", make_image(0, SIZES), AFFINE))
    mask = nib.Nifti1Image(make_mask(0, SIZES), AFFINE)
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(AFFINE), nib.orientations.axcodes2ornt(order)
    )
    turned = mask.as_reoriented(turn)
    assert turned.shape != mask.shape or not np.array_equal(turned.affine, AFFINE)
    nib.save(turned, tmp_path / "mask.nii")
    found = read_mask(tmp_path / "mask.nii", image)
    assert np.array_equal(found.array, mask.get_fdata())
    assert np.allclose(found.affine, AFFINE, atol=1e-5)


def test_a_mask_on_another_grid_is_resampled_only_when_asked_for(tmp_path: Path):
    """Half the spacing, the same corner: every voxel of the image lies among eight voxels of the mask, all alike."""
    image = Volume(make_image(0, SIZES), AFFINE, Path("image.nii"))
    coarse = make_mask(0, SIZES)
    fine_affine = AFFINE @ np.diag([0.5, 0.5, 0.5, 1])
    fine_affine[:3, 3] += AFFINE[:3, :3] @ ([-0.25] * 3)
    path = save(tmp_path / "mask.nii", np.kron(coarse, np.ones((2, 2, 2), np.uint8)), fine_affine)
    with pytest.raises(GeometryMismatch, match="12 x 14 x 10 voxels"):
        read_mask(path, image)
    found = read_mask(path, image, resample=True)
    assert np.array_equal(found.array, coarse)
    assert ["on another grid" in remark.finding for remark in found.remarks] == [True]
    far = AFFINE.copy()
    far[0, 3] += 500
    with pytest.raises(GeometryMismatch, match="wholly outside"):
        read_mask(save(tmp_path / "far.nii", coarse, far), image, resample=True)


def test_check_warns_of_what_it_resamples(plain_folder):
    root = plain_folder(affine=AFFINE)
    save(root / "labels" / "case_1.nii.gz", make_mask(1), AFFINE @ np.diag([1, 1, 2.0, 1]))
    (refused,) = [found for found in check_dataset(open_dataset(root)) if found.level == "error"]
    assert "voxels" in refused.finding
    (resampled,) = check_dataset(open_dataset(root), resample_labels=True)
    assert resampled.level == "warning"
    assert "another grid" in resampled.finding
