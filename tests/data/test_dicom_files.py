"""Files of a DICOM series: found by content and by name, compressed or not, one slice or many frames in each."""

import os
from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
gdcm = pytest.importorskip("gdcm")
sitk = pytest.importorskip("SimpleITK")

from pydicom.encaps import encapsulate, generate_frames  # noqa: E402
from small_multiframe import item, make_multiframe  # noqa: E402

from dimlift.data.io.dicom.series import is_series  # noqa: E402
from dimlift.data.io.readers import list_volumes, read_grid, read_volume  # noqa: E402
from dimlift.data.io.writers import default_label_format, require_label_format  # noqa: E402
from dimlift.errors import CorruptFileError, DataError  # noqa: E402
from small_series import SIZES, make_slices, numbered, save_slices  # noqa: E402

C, S = np.cos(0.35), np.sin(0.35)
OBLIQUE = (C, S, 0.0, -S * C, C * C, S)
HOUNSFIELD = numbered() - 1024.0
NAMES = {
    "no suffix": [f"IM{index:04d}" for index in range(6)],
    "numbers": [f"scan.{index:03d}" for index in range(6)],
    "UIDs": [f"1.2.840.113619.2.{index + 100}" for index in range(6)],
    "another suffix": [f"slice{index}.img" for index in range(6)],
    "DICOM suffix": [f"{index}.DCM" for index in range(6)],
}


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def overwrite(path: Path) -> None:
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n" * 9)


def leave_dangling(path: Path) -> None:
    path.unlink()
    os.symlink("nowhere", path)


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("fault", [empty, cut, overwrite, leave_dangling, make_fifo])
@pytest.mark.parametrize("kind", NAMES)
def test_unreadable_last_slice_is_named(tmp_path: Path, kind: str, fault):
    """Without its last slice, the series would be a shorter volume."""
    names = NAMES[kind]
    folder = save_slices(tmp_path / "series", make_slices(numbered()), names)
    assert np.array_equal(read_volume(folder).array, HOUNSFIELD)
    fault(folder / names[5])
    assert is_series(folder)
    for read in (read_volume, read_grid):
        with pytest.raises(DataError, match=names[5].replace(".", r"\.")):
            read(folder)


def test_files_of_other_kinds_are_no_slices(tmp_path: Path):
    folder = save_slices(tmp_path / "series", make_slices(numbered()), NAMES["no suffix"])
    (folder / "README").write_text("text")
    (folder / "notes2.txt").write_text("text")
    (folder / "DICOMDIR").write_bytes(b"")
    (folder / "again").symlink_to(folder)
    assert np.array_equal(read_volume(folder).array, HOUNSFIELD)
    assert [path.name for path in list_volumes(tmp_path)] == ["series"]
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "IM0001").write_bytes(b"")
    assert not is_series(tmp_path / "notes")


@pytest.mark.parametrize("with_meta", [True, False])
@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("which", [range(6), range(5, 6)], ids=["all", "one"])
def test_slices_without_preamble_are_read(tmp_path: Path, which: range, implicit: bool, with_meta: bool):
    folder = save_slices(tmp_path / "series", make_slices(numbered()), NAMES["no suffix"])
    for index in which:
        path = folder / NAMES["no suffix"][index]
        content = pydicom.dcmread(path)
        content.preamble = None
        content.file_meta.TransferSyntaxUID = (
            pydicom.uid.ImplicitVRLittleEndian if implicit else pydicom.uid.ExplicitVRLittleEndian
        )
        if not with_meta:
            content.file_meta = pydicom.dataset.FileMetaDataset()
        pydicom.dcmwrite(path, content, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
        assert path.read_bytes()[128:132] != b"DICM"
    assert is_series(folder)
    assert np.array_equal(read_volume(folder).array, HOUNSFIELD)


SYNTAXES = {
    "JPEG Lossless": "JPEGLosslessProcess14_1",
    "JPEG Lossless, process 14": "JPEGLosslessProcess14",
    "JPEG-LS": "JPEGLSLossless",
    "JPEG 2000": "JPEG2000Lossless",
    "RLE": "RLELossless",
}


def compress(folder: Path, syntax: str) -> None:
    """Compress the files of a folder with GDCM."""
    for path in folder.iterdir():
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(path))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, SYNTAXES[syntax])))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFileName(str(path))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_compressed_slices_are_read_exactly_or_refused(tmp_path: Path, syntax: str):
    stored = np.random.default_rng(0).integers(-1000, 3000, (30, 20, 3)).astype(np.int16)
    folder = save_slices(tmp_path / "series", make_slices(stored))
    compress(folder, syntax)
    assert pydicom.dcmread(next(folder.iterdir())).file_meta.TransferSyntaxUID.is_encapsulated
    assert np.array_equal(read_volume(folder).array, stored - 1024.0)
    path = sorted(folder.iterdir())[1]
    whole, content = path.read_bytes(), pydicom.dcmread(path)
    path.write_bytes(whole[:-100])
    with pytest.raises(CorruptFileError, match=rf"{path.name}: is truncated"):
        read_volume(folder)
    (frame,) = generate_frames(content.PixelData, number_of_frames=1)
    for share in (0.1, 0.5, 0.9):
        content.PixelData = encapsulate([frame[: int(share * len(frame))]])
        content.save_as(path)
        with pytest.raises(CorruptFileError, match=f"{path.name}: has pixels compressed as .* cannot be read"):
            read_volume(folder)


@pytest.mark.parametrize("sides", [(1, 0, 0, 0, 1, 0), OBLIQUE], ids=["axial", "oblique"])
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_multiframe_file_equals_its_slices(tmp_path: Path, modality: str, sides: tuple):
    """Frames are sorted by position, whatever their order in the file."""
    folder = tmp_path / "enhanced"
    folder.mkdir()
    file = make_multiframe(numbered(), modality, sides, order=[3, 0, 5, 1, 4, 2])
    pydicom.dcmwrite(folder / "a", file, enforce_file_format=True)
    volume = read_volume(folder)
    assert np.array_equal(volume.array, HOUNSFIELD)
    slices = read_volume(save_slices(tmp_path / "slices", make_slices(numbered(), modality, sides)))
    assert np.allclose(volume.affine, slices.affine, rtol=0, atol=1e-9)
    assert read_grid(folder).shape == SIZES
    assert np.array_equal(read_grid(folder).affine, volume.affine)
    assert default_label_format(folder) == "nifti"
    with pytest.raises(DataError, match="--format nifti"):
        require_label_format("dicom-seg", folder)


def test_multiframe_file_matches_simpleitk(tmp_path: Path):
    pydicom.dcmwrite(tmp_path / "a.dcm", make_multiframe(numbered(), "CT", OBLIQUE), enforce_file_format=True)
    image, volume = sitk.ReadImage(str(tmp_path / "a.dcm")), read_volume(tmp_path)
    assert np.array_equal(sitk.GetArrayFromImage(image).transpose(2, 1, 0), volume.array)
    for index in ((0, 0, 0), (3, 1, 5)):
        point = np.array(image.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]
        assert np.allclose((volume.affine @ [*index, 1])[:3], point, atol=1e-4)


def test_multiframe_rescaling_is_read_for_each_frame(tmp_path: Path):
    file = make_multiframe(numbered(), "MR")
    for number, group in enumerate(file.PerFrameFunctionalGroupsSequence):
        group.PixelValueTransformationSequence = item(RescaleSlope=number + 1, RescaleIntercept=-number)
    pydicom.dcmwrite(tmp_path / "a.dcm", file, enforce_file_format=True)
    assert np.array_equal(read_volume(tmp_path).array, numbered() * np.arange(1, 7) - np.arange(6))


@pytest.mark.parametrize("syntax", ["JPEG Lossless", "JPEG-LS", "JPEG 2000"])
def test_compressed_multiframe_file(tmp_path: Path, syntax: str):
    stored = np.random.default_rng(0).integers(-1000, 3000, (30, 20, 3)).astype(np.int16)
    folder = save_slices(tmp_path / "slices", make_slices(stored, "MR"), ["0", "1", "2"])
    compress(folder, syntax)
    slices = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    file = make_multiframe(stored, "MR")
    file.file_meta.TransferSyntaxUID = slices[0].file_meta.TransferSyntaxUID
    file.PixelData = encapsulate([next(generate_frames(one.PixelData, number_of_frames=1)) for one in slices])
    (tmp_path / "enhanced").mkdir()
    pydicom.dcmwrite(tmp_path / "enhanced" / "a.dcm", file, enforce_file_format=True)
    assert np.array_equal(read_volume(tmp_path / "enhanced").array, stored - 1024.0)
    file.PixelData = encapsulate([next(generate_frames(one.PixelData, number_of_frames=1)) for one in slices[:2]])
    pydicom.dcmwrite(tmp_path / "enhanced" / "a.dcm", file, enforce_file_format=True)
    with pytest.raises(CorruptFileError, match=r"a\.dcm"):
        read_volume(tmp_path / "enhanced")


def add_stack(file) -> None:
    file.PerFrameFunctionalGroupsSequence[3].FrameContentSequence[0].StackID = "2"


def add_time(file) -> None:
    for index, group in enumerate(file.PerFrameFunctionalGroupsSequence):
        group.FrameContentSequence[0].TemporalPositionIndex = 1 + index % 2


def repeat_position(file) -> None:
    groups = file.PerFrameFunctionalGroupsSequence
    groups[3].PlanePositionSequence = groups[2].PlanePositionSequence


def lose_position(file) -> None:
    del file.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence


def lose_group(file) -> None:
    del file.PerFrameFunctionalGroupsSequence[3]


def turn_frame(file) -> None:
    file.PerFrameFunctionalGroupsSequence[3].PlaneOrientationSequence = item(ImageOrientationPatient=[1, 0, 0, 0, 0, 1])


def lose_pixels(file) -> None:
    file.PixelData = file.PixelData[:-40]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (add_stack, "holds 2 stacks in one file"),
        (add_time, "holds 2 time points in one file"),
        (repeat_position, r"two slices at the same position \(a.dcm .frame 3. and a.dcm .frame 4.\)"),
        (lose_position, r"a.dcm \(frame 4\): is a CT file without ImagePositionPatient"),
        (lose_group, "several frames in one file: 6, but states the positions of 5"),
        (turn_frame, r"a.dcm \(frame 4\): has another orientation"),
        (lose_pixels, "holds 200 bytes of pixels; its header requires 240"),
    ],
)
def test_multiframe_file_rejects_invalid_stacks(tmp_path: Path, fault, message: str):
    file = make_multiframe(numbered())
    fault(file)
    pydicom.dcmwrite(tmp_path / "a.dcm", file, enforce_file_format=True)
    with pytest.raises(DataError, match=message):
        read_volume(tmp_path)


def test_deflated_file_is_read_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    slices = make_slices(numbered())
    for one in slices:
        one.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    folder = save_slices(tmp_path / "series", slices)
    assert np.array_equal(read_volume(folder).array, HOUNSFIELD)
    monkeypatch.setattr("dimlift.data.io.dicom.objects.MAX_INFLATED_BYTES", 100)
    with pytest.raises(CorruptFileError, match="inflates to more than"):
        read_volume(folder)
