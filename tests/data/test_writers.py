"""Label maps are written on exactly the grid of their input in every format, verified with a second reader."""

from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
sitk = pytest.importorskip("SimpleITK")

from small_files import save  # noqa: E402
from test_geometry_roundtrip import AXIS_CODES, affine_for, make_preprocessing  # noqa: E402

from dimlift.data.io.dicom.contours import trace_outlines  # noqa: E402
from dimlift.data.io.writers import LABEL_FORMATS, LabelMap, default_label_format, require_label_format, write_labels  # noqa: E402
from dimlift.errors import DataError, UnknownNameError  # noqa: E402
from small_series import SIZES, make_slices, numbered, save_slices  # noqa: E402

LABELS = {"liver": 3, "tumour, left": 5, "vessel": 2}
SIGNS = list(product((1.0, -1.0), repeat=2))
ORIENTATIONS = [
    (*(a * np.eye(3)[i]).tolist(), *(b * np.eye(3)[j]).tolist()) for i, j in permutations(range(3), 2) for a, b in SIGNS
]
"""The 24 orientations of rows and columns; slices are always sorted along their normal."""


def spin(sides: tuple, angle: float = 0.35) -> tuple:
    """Return the orientation rotated about an oblique axis."""
    axis = np.array([1.0, 2.0, 3.0]) / np.sqrt(14)
    cross = np.cross(np.eye(3), axis)
    rotation = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return (*(rotation @ sides[:3]).tolist(), *(rotation @ sides[3:]).tolist())


def predict_identity(source: Path, target: Path, slice_axis: str = "z", labels: dict | None = None) -> Path:
    """Read a volume of class indices and write it as the prediction of an identity network."""
    preprocessing = make_preprocessing(slice_axis=slice_axis, **({"labels": labels} if labels else {}))
    sample = preprocessing.read_image([source])
    return preprocessing.write(target, sample.image[0].astype(np.int64), sample.geometry)


def read_segmentation(path: Path, shape: tuple[int, int, int]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return masks by segment label and the affine of a SEG, read with pydicom alone."""
    content = pydicom.dcmread(path)
    frames = content.pixel_array.reshape(-1, content.Rows, content.Columns)
    shared = content.SharedFunctionalGroupsSequence[0]
    sides = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    pixel = np.array(shared.PixelMeasuresSequence[0].PixelSpacing, float)
    normal = np.cross(sides[:3], sides[3:])
    positions, numbers = [], []
    for group in content.PerFrameFunctionalGroupsSequence:
        positions.append(np.array(group.PlanePositionSequence[0].ImagePositionPatient, float))
        numbers.append(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
    along = np.unique(np.round(np.array(positions) @ normal, 6))
    assert len(along) == shape[2], "test volumes have every label on every slice or an outer one"
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = sides[:3] * pixel[1], sides[3:] * pixel[0]
    first = positions[int(np.argmin(np.array(positions) @ normal))]
    affine[:3, 2], affine[:3, 3] = normal * (along[-1] - along[0]) / (len(along) - 1), first
    names = {segment.SegmentNumber: segment.SegmentLabel for segment in content.SegmentSequence}
    masks = {name: np.zeros(shape, bool) for name in names.values()}
    for frame, place, number in zip(frames, positions, numbers, strict=True):
        index = int(np.argmin(np.abs(along - place @ normal)))
        masks[names[number]][:, :, index] = frame.T.astype(bool)
    return masks, np.diag([-1, -1, 1, 1]) @ affine


def read_contours(path: Path, affine: np.ndarray, shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """Return masks by name: a pixel is inside if a ray from its centre crosses contours an odd number of times."""
    content = pydicom.dcmread(path)
    names = {item.ROINumber: item.ROIName for item in content.StructureSetROISequence}
    masks = {}
    columns, rows = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    for item in content.ROIContourSequence:
        mask = np.zeros(shape, bool)
        for contour in item.get("ContourSequence", []):
            points = np.array(contour.ContourData, float).reshape(-1, 3) * [-1, -1, 1]
            voxels = (np.linalg.inv(affine) @ np.column_stack([points, np.ones(len(points))]).T)[:3].T
            assert np.allclose(voxels[:, :2] % 1, 0.5, atol=1e-5)
            assert np.allclose(voxels[:, 2], round(voxels[0, 2]), atol=1e-5)
            inside = np.zeros(shape[:2], bool)
            for (x, y), (u, v) in zip(voxels[:, :2], np.roll(voxels[:, :2], -1, axis=0), strict=True):
                crosses = ((y > rows) != (v > rows)) & (columns < x + (rows - y) * (u - x) / ((v - y) or 1))
                inside ^= crosses
            mask[:, :, round(voxels[0, 2])] ^= inside
        masks[names[item.ReferencedROINumber]] = mask
    return masks


@pytest.mark.parametrize("codes", AXIS_CODES)
@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_nrrd_and_mha_identity_for_all_axis_orders(tmp_path: Path, codes: str, suffix: str):
    values = np.arange(120, dtype=np.uint8).reshape(4, 5, 6)
    for tilt in (0.0, 0.37):
        affine = np.diag([-1, -1, 1, 1]) @ affine_for(codes, tilt)
        image = sitk.GetImageFromArray(values.transpose(2, 1, 0))
        sizes = np.linalg.norm(affine[:3, :3], axis=0)
        image.SetSpacing(sizes.tolist())
        image.SetOrigin(affine[:3, 3].tolist())
        image.SetDirection((affine[:3, :3] / sizes).ravel().tolist())
        sitk.WriteImage(image, str(tmp_path / f"in{suffix}"))
        after = sitk.ReadImage(str(predict_identity(tmp_path / f"in{suffix}", tmp_path / f"out{suffix}")))
        before = sitk.ReadImage(str(tmp_path / f"in{suffix}"))
        assert np.array_equal(sitk.GetArrayFromImage(after).transpose(2, 1, 0), values)
        for getter in ("GetOrigin", "GetSpacing", "GetDirection"):
            assert np.allclose(getattr(after, getter)(), getattr(before, getter)(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("sides", ORIENTATIONS)
def test_dicom_segmentation_identity_for_all_axis_orders(tmp_path: Path, sides: tuple):
    classes = np.random.default_rng(0).integers(0, 4, size=SIZES)
    classes[0, 0], classes[1, 1], classes[2, 2] = 1, 2, 3
    for turned, modality in ((sides, "MR"), (spin(sides), "CT")):
        stored = classes + (1024 if modality == "CT" else 0)
        folder = save_slices(tmp_path / modality, make_slices(stored, modality, turned))
        path = predict_identity(folder, tmp_path / f"{modality}.seg.dcm", labels=LABELS)
        names = sorted(LABELS, key=LABELS.get)
        masks, affine = read_segmentation(path, SIZES)
        for number, name in enumerate(names, start=1):
            assert np.array_equal(masks[name], classes == number)
        truth = make_preprocessing().read_image([folder]).geometry.affine
        assert np.allclose(affine, truth, rtol=0, atol=1e-5)


def test_dicom_segmentation_references_its_series(tmp_path: Path):
    slices = make_slices(numbered() % 3 + 1024)
    folder = save_slices(tmp_path / "series", slices)
    content = pydicom.dcmread(predict_identity(folder, tmp_path / "a.seg.dcm", labels={"a": 1, "b": 2}))
    assert content.Modality == "SEG"
    for name in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert content[name].value == slices[0][name].value
    referenced = {
        item.ReferencedSOPInstanceUID for item in content.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    assert referenced == {one.SOPInstanceUID for one in slices}
    assert [segment.SegmentLabel for segment in content.SegmentSequence] == ["a", "b"]
    assert {segment.SegmentAlgorithmType for segment in content.SegmentSequence} == {"AUTOMATIC"}


@pytest.mark.parametrize("sides", [ORIENTATIONS[0], ORIENTATIONS[9], spin(ORIENTATIONS[5])])
def test_rtstruct_contours_contain_exactly_their_voxels(tmp_path: Path, sides: tuple):
    """Random voxels have holes, islands in holes, and pixels that touch only at a corner."""
    classes = np.random.default_rng(1).integers(0, 4, size=(9, 8, 3))
    folder = save_slices(tmp_path / "series", make_slices(classes, "MR", sides))
    path = predict_identity(folder, tmp_path / "a.rtstruct.dcm", labels=LABELS)
    affine = make_preprocessing().read_image([folder]).geometry.affine
    masks = read_contours(path, affine, (9, 8, 3))
    for number, name in enumerate(sorted(LABELS, key=LABELS.get), start=1):
        assert np.array_equal(masks[name], classes == number)
    content = pydicom.dcmread(path)
    known = {str(one.SOPInstanceUID) for one in map(pydicom.dcmread, folder.iterdir())}
    for item in content.ROIContourSequence:
        for contour in item.ContourSequence:
            assert str(contour.ContourImageSequence[0].ReferencedSOPInstanceUID) in known


def test_trace_outlines_corners_and_holes():
    square = np.zeros((5, 5), bool)
    square[1:4, 1:4] = True
    (outline,) = trace_outlines(square)
    assert sorted(map(tuple, outline)) == [(0.5, 0.5), (0.5, 3.5), (3.5, 0.5), (3.5, 3.5)]
    square[2, 2] = False
    assert sorted(len(polygon) for polygon in trace_outlines(square)) == [4, 4]
    assert trace_outlines(np.zeros((3, 3), bool)) == []
    corner = np.eye(2, dtype=bool)
    assert sorted(len(polygon) for polygon in trace_outlines(corner)) in ([4, 4], [8])


@pytest.mark.parametrize("kind", ["dicom-seg", "rtstruct"])
def test_dicom_outputs_accept_empty_labels(tmp_path: Path, kind: str):
    folder = save_slices(tmp_path / "series", make_slices(np.zeros(SIZES, int), "MR"))
    preprocessing = make_preprocessing(labels={"a": 1})
    sample = preprocessing.read_image([folder])
    path = preprocessing.write(tmp_path / "a.dcm", np.zeros(sample.image.shape[1:], int), sample.geometry, kind)
    content = pydicom.dcmread(path)
    if kind == "dicom-seg":
        assert not content.pixel_array.any()
    else:
        assert "ContourSequence" not in content.ROIContourSequence[0]


def test_label_formats_of_any_input(tmp_path: Path):
    series = save_slices(tmp_path / "series", make_slices(numbered() % 3, "MR"))
    nifti = save(tmp_path / "a.nii.gz", (numbered() % 3).astype(np.uint8), affine_for("LPS", 0.2))
    for source in (series, nifti):
        for suffix in (".nii.gz", ".nrrd", ".mha"):
            path = predict_identity(source, tmp_path / f"out{suffix}", labels={"a": 1, "b": 2})
            if suffix == ".nii.gz":
                found, affine = np.asarray(nib.load(path).dataobj), nib.load(path).affine
            else:
                image = sitk.ReadImage(str(path))
                found = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
                affine = np.eye(4)
                affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
                affine[:3, 3] = image.GetOrigin()
                affine = np.diag([-1, -1, 1, 1]) @ affine
            assert np.array_equal(found, numbered() % 3)
            assert np.allclose(affine, make_preprocessing().read_image([source]).geometry.affine, atol=1e-5)
    for kind, suffix in (("dicom-seg", ".seg.dcm"), ("rtstruct", ".rtstruct.dcm")):
        with pytest.raises(DataError, match=r"not a DICOM series.*--format nifti"):
            predict_identity(nifti, tmp_path / f"out{suffix}", labels={"a": 1, "b": 2})
        with pytest.raises(DataError, match="not a DICOM series"):
            require_label_format(kind, nifti)
        require_label_format(kind, series)
    assert [default_label_format(source) for source in (series, nifti, Path("a.nrrd"), Path("a.mha"))] == [
        "dicom-seg", "nifti", "nrrd", "mha",
    ]  # fmt: skip
    with pytest.raises(UnknownNameError, match="rtstruct"):
        require_label_format("nift", nifti)
    with pytest.raises(DataError, match=r"the suffix must be one of \.nii\.gz"):
        write_labels(tmp_path / "a.png", LabelMap(numbered(), np.eye(4), nifti))


@pytest.mark.parametrize("kind", ["dicom-seg", "rtstruct", "nrrd"])
def test_write_labels_is_atomic(tmp_path: Path, monkeypatch, kind: str):
    folder = save_slices(tmp_path / "series", make_slices(numbered() % 3, "MR"))
    preprocessing = make_preprocessing(labels={"a": 1, "b": 2})
    sample = preprocessing.read_image([folder])
    target = tmp_path / "out" / f"a{LABEL_FORMATS[kind].suffixes[0]}"
    labels = sample.image[0].astype(int)
    before = preprocessing.write(target, labels, sample.geometry).read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        preprocessing.write(target, labels, sample.geometry)
    assert target.read_bytes() == before
    assert [path.name for path in target.parent.iterdir()] == [target.name]
