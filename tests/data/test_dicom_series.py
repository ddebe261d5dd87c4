"""DICOM series: one even, orthogonal stack sorted by position, or refused with the reason."""

from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
sitk = pytest.importorskip("SimpleITK")

from small_files import save  # noqa: E402
from test_geometry_roundtrip import make_preprocessing  # noqa: E402

from dimlift.data.datasets.inference_inputs import find_inference_cases  # noqa: E402
from dimlift.data.datasets.open_dataset import open_dataset  # noqa: E402
from dimlift.data.io.readers import list_volumes, read_grid, read_volume  # noqa: E402
from dimlift.data.preprocessing.intensity import IntensityNormalisation  # noqa: E402
from dimlift.data.preprocessing.masks import read_mask  # noqa: E402
from dimlift.data.quality.check_dataset import check_dataset  # noqa: E402
from dimlift.errors import CorruptFileError, DataError, GeometryMismatchError  # noqa: E402
from small_series import GAP, PIXELS, SIZES, make_slices, numbered, save_slices  # noqa: E402

C, S = np.cos(0.35), np.sin(0.35)
OBLIQUE = (C, S, 0.0, -S * C, C * C, S)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


@pytest.mark.parametrize("sides", [(1, 0, 0, 0, 1, 0), OBLIQUE, SAGITTAL], ids=["axial", "oblique", "sagittal"])
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_dicom_series_matches_simpleitk(tmp_path: Path, modality: str, sides: tuple):
    folder = save_slices(tmp_path / "series", make_slices(numbered(), modality, sides))
    volume = read_volume(folder)
    assert np.array_equal(volume.array, numbered() - (1024.0 if modality == "CT" else 0.0))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    assert np.array_equal(sitk.GetArrayFromImage(image).transpose(2, 1, 0), volume.array)
    for index in ((0, 0, 0), (3, 1, 5)):
        point = np.array(image.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]
        assert np.allclose((volume.affine @ [*index, 1])[:3], point, atol=1e-6)
    assert np.allclose(np.linalg.norm(volume.affine[:3, :3], axis=0), [PIXELS[1], PIXELS[0], GAP])
    assert read_grid(folder).shape == SIZES
    assert np.array_equal(read_grid(folder).affine, volume.affine)


def test_dicom_slices_are_rescaled_individually(tmp_path: Path):
    slices = make_slices(numbered(), "MR")
    for index, one in enumerate(slices):
        one.RescaleSlope, one.RescaleIntercept = str(index + 1), str(-index)
    wanted = numbered() * np.arange(1, 7) - np.arange(6)
    assert np.array_equal(read_volume(save_slices(tmp_path / "series", slices)).array, wanted)


def drop(slices: list) -> None:
    del slices[2]


def double(slices: list) -> None:
    slices.append(slices[3])


def overlay(slices: list) -> None:
    """Another time point: own identifiers, the same places."""
    slices += [one for one in make_slices(numbered())]
    for one in slices:
        one.SeriesInstanceUID, one.FrameOfReferenceUID = slices[0].SeriesInstanceUID, slices[0].FrameOfReferenceUID


def mix(slices: list) -> None:
    slices += make_slices(numbered())


def mix_patients(slices: list) -> None:
    slices[2].PatientID = "P2"


def mix_modalities(slices: list) -> None:
    slices[2].Modality = "SEG"


def shift(slices: list) -> None:
    x, y, z = slices[2].ImagePositionPatient
    slices[2].ImagePositionPatient = [x, y, float(z) + 0.4 * GAP]


def tilt(slices: list) -> None:
    for index, one in enumerate(slices):
        x, y, z = one.ImagePositionPatient
        one.ImagePositionPatient = [x, float(y) + index * GAP * np.tan(np.radians(12)), z]


def turn(slices: list) -> None:
    slices[2].ImageOrientationPatient = [1, 0, 0, 0, 0, 1]


def rescale(slices: list) -> None:
    slices[2].PixelSpacing = [0.8, 1.1]


def resize(slices: list) -> None:
    slices[2].Rows, slices[2].PixelData = 4, slices[2].PixelData[: 4 * 4 * 2]


def lose_place(slices: list) -> None:
    del slices[2].ImagePositionPatient


def bend(slices: list) -> None:
    for one in slices:
        one.ImageOrientationPatient = [1, 0, 0, 0.2, 1, 0]


def stack(slices: list) -> None:
    slices[2].NumberOfFrames = 3


def colour(slices: list) -> None:
    slices[2].SamplesPerPixel, slices[2].PhotometricInterpretation = 3, "RGB"


def cut_pixels(slices: list) -> None:
    slices[2].PixelData = slices[2].PixelData[:-8]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (drop, r"lacks 1 slice between .*\.dcm and .*\.dcm \(a gap of 6\.60 mm; the usual gap is 3\.30 mm"),
        (double, "holds the same slice under 2 names"),
        (overlay, "holds two slices at the same position.*time series or has several echoes"),
        (mix, "holds files of several series.*folder of its own"),
        (mix_patients, "holds files of several patients"),
        (mix_modalities, "of several modalities .Modality CT in 5 files, SEG in 1"),
        (shift, r"uneven gaps between slices, from 1\.980 to 4\.620 mm"),
        (tilt, r"is tilted by 12\.00 degrees .gantry tilt"),
        (turn, "another orientation than the other slices"),
        (rescale, r"pixels of 0\.8 x 1\.1 mm"),
        (resize, "of several sizes"),
        (lose_place, "without ImagePositionPatient, so its position is unknown"),
        (bend, "two orthogonal unit vectors are expected"),
        (stack, "several frames in one file"),
        (colour, "RGB pixels"),
        (cut_pixels, "holds 32 bytes of pixels; its header requires 40"),
    ],
)
def test_dicom_series_rejects_invalid_stacks(tmp_path: Path, fault, message: str):
    slices = make_slices(numbered())
    fault(slices)
    with pytest.raises(DataError, match=message):
        read_volume(save_slices(tmp_path / "series", slices))


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.99])
def test_dicom_series_rejects_truncated_files(tmp_path: Path, share: float):
    folder = save_slices(tmp_path / "series", make_slices(numbered()))
    path = sorted(folder.iterdir())[2]
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DataError, match=path.name):
        read_volume(folder)


def test_dicom_series_accepts_rounded_positions(tmp_path: Path):
    slices = make_slices(numbered(), sides=OBLIQUE)
    exact = read_volume(save_slices(tmp_path / "exact", slices)).affine
    for one in slices:
        one.ImagePositionPatient = [f"{float(value):.2f}" for value in one.ImagePositionPatient]
    rounded = read_volume(save_slices(tmp_path / "rounded", slices)).affine
    assert 0 < np.abs(rounded - exact).max() <= 0.01


def test_dicom_volume_rejects_single_file(tmp_path: Path):
    folder = save_slices(tmp_path / "series", make_slices(numbered()))
    with pytest.raises(DataError, match="one file of a DICOM series"):
        read_volume(sorted(folder.iterdir())[0])


def test_list_volumes_finds_series(tmp_path: Path):
    for name in ("anna", "bert"):
        save_slices(tmp_path / name, make_slices(numbered()))
    (tmp_path / "notes").mkdir()
    assert [path.name for path in list_volumes(tmp_path)] == ["anna", "bert"]


def test_dicom_series_rejects_other_files(tmp_path: Path):
    folder = save_slices(tmp_path / "series", make_slices(numbered()))
    (folder / "x.dcm").write_bytes(b"<html>" * 100)
    with pytest.raises(CorruptFileError, match=r"x\.dcm: is not a complete DICOM file"):
        read_volume(folder)


def test_dicom_dataset_with_nifti_masks(tmp_path: Path):
    """A converter flips the rows: the mask lies on other axes of the same grid, and is turned back."""
    for index in range(3):
        stored = np.random.default_rng(index).integers(0, 900, SIZES)
        folder = save_slices(tmp_path / "images" / f"p{index}", make_slices(stored, "MR", patient=f"P{index}"))
        affine = read_grid(folder).affine
        mask = np.random.default_rng(index).integers(0, 3, SIZES).astype(np.uint8)
        flip = np.diag([1.0, -1.0, 1.0, 1.0])
        flip[1, 3] = SIZES[1] - 1
        save(tmp_path / "labels" / f"p{index}.nii.gz", mask[:, ::-1], affine @ flip)
        assert np.array_equal(read_mask(tmp_path / "labels" / f"p{index}.nii.gz", read_grid(folder)).array, mask)
    dataset = open_dataset(tmp_path)
    assert [case.images[0].name for case in dataset.cases] == ["p0", "p1", "p2"]
    assert check_dataset(dataset) == []
    before = dataset.manifest_hash()
    path = sorted((tmp_path / "images" / "p1").iterdir())[0]
    path.rename(path.with_name("renamed.dcm"))
    assert open_dataset(tmp_path).manifest_hash() == before
    save_slices(tmp_path / "images" / "p2", make_slices(np.full(SIZES, 7), "MR"))
    assert open_dataset(tmp_path).manifest_hash() != before


def test_check_dataset_finds_shared_patient_id(tmp_path: Path):
    for index, patient in enumerate(["P0", "P1", "P0"]):
        stored = np.random.default_rng(index).integers(0, 900, SIZES)
        folder = save_slices(tmp_path / "images" / f"p{index}", make_slices(stored, "MR", patient=patient))
        save(tmp_path / "labels" / f"p{index}.nii.gz", np.ones(SIZES, np.uint8), read_grid(folder).affine)
    (issue,) = check_dataset(open_dataset(tmp_path))
    assert (issue.level, Path(issue.file).name) == ("error", "p2")
    assert "same patient as" in issue.message
    assert "P0" not in f"{issue.message}{issue.fix}"


def test_dicom_channels_are_separate_series(tmp_path: Path):
    for channel in range(2):
        save_slices(tmp_path / f"anna_{channel:04d}", make_slices(numbered() + channel, "MR"))
    (case,) = find_inference_cases([tmp_path], ["T1", "T2"])
    preprocessing = make_preprocessing(channels=("T1", "T2"), normalisation=(IntensityNormalisation("none"),) * 2)
    assert preprocessing.read_image(case.images).image.shape[0] == 2
    moved = make_slices(numbered(), "MR")
    for one in moved:
        x, y, z = one.ImagePositionPatient
        one.ImagePositionPatient = [float(x) + 1.1, y, z]
    save_slices(tmp_path / "anna_0001", moved)
    with pytest.raises(GeometryMismatchError, match=r"1\.00 voxels"):
        preprocessing.read_image(case.images)
