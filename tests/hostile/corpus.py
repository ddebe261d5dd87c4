"""Hostile files, each made by a few lines of code: what it is, what reads it, and what the refusal must say.

Nothing here is dangerous to keep: files are made where a test asks for them and nowhere else.
"""

import gzip
import io
import json
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import laspy
import nibabel
import numpy as np


class Hostile(NamedTuple):
    """One file of the corpus.

    Attributes:
        reader: who is given it: "volume", "dataset", "config", "weights" (of a 2D network), "run" (a weights folder),
            "record", "study", "cloud" or "picture".
        make: writes it into an empty folder and returns what the reader is given.
        says: words of the refusal.
    """

    reader: str
    make: Callable[[Path], Path]
    says: str


class Touch:
    """Unpickled, it makes a file: the proof that code of the file ran."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def marker(folder: Path) -> Path:
    return folder / "EXECUTED"


def written(name: str, content: bytes | str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


def pickled(name: str) -> Callable[[Path], Path]:
    return lambda folder: written(name, pickle.dumps({"weight": Touch(marker(folder))}))(folder)


# Volumes


def nifti(shape: tuple[int, ...] = (4, 4, 4), **fields: object) -> bytes:
    """A small NIfTI file with some fields of its header overwritten."""
    image = nibabel.Nifti1Image(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), np.eye(4))
    content = image.to_bytes()
    header = nibabel.Nifti1Header(content[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock + content[348:]


def packed(content: bytes, cut: float = 1.0) -> bytes:
    squeezed = gzip.compress(content, mtime=0)
    return squeezed[: int(len(squeezed) * cut)]


def flipped() -> bytes:
    stored = bytearray(gzip.compress(nifti(), compresslevel=0, mtime=0))
    stored[-100] ^= 1
    return bytes(stored)


def gigabyte(first: bytes = b"") -> bytes:
    """A gzip stream of 1 GiB of zeros in a megabyte: one member, sixty-four times."""
    return (gzip.compress(first, mtime=0) if first else b"") + gzip.compress(bytes(16 << 20), mtime=0) * 64


VOLUMES = {
    "nothing": Hostile("volume", written("a.nii.gz", b""), "no NIfTI header"),
    "pickle called nii": Hostile("volume", pickled("a.nii"), "no NIfTI header"),
    "pickle in gzip": Hostile(
        "volume", lambda f: written("a.nii.gz", packed(pickle.dumps(Touch(marker(f)))))(f), "no NIfTI header"
    ),
    "web page": Hostile("volume", written("a.nii.gz", "<html><script>alert(1)</script>"), "gzip stream is broken"),
    "cut off": Hostile("volume", written("a.nii.gz", packed(nifti((16, 16, 16)), 0.6)), "cut off"),
    "one bit flipped": Hostile("volume", written("a.nii.gz", flipped()), "gzip stream is broken"),
    "gzip bomb behind a small header": Hostile(
        "volume", written("a.nii.gz", gigabyte(nifti())), "goes on after the 480 bytes"
    ),
    "gzip bomb of header zeros": Hostile("volume", written("a.nii.gz", gigabyte()), "no NIfTI header"),
    "header states 32767 to the 7th": Hostile(
        "volume", written("a.nii", nifti(dim=[7] + [32767] * 7)), "but the file has 480"
    ),
    "header states it in gzip": Hostile(
        "volume", written("a.nii.gz", packed(nifti(dim=[7] + [32767] * 7))), "cannot unpack to so many"
    ),
    "header states what gzip could hold": Hostile(
        "volume",
        written("a.nii.gz", packed(nifti(dim=[3, 512, 512, 200, 1, 1, 1, 1])) + bytes(120_000)),
        "",
    ),
    "negative sizes": Hostile("volume", written("a.nii", nifti(dim=[3, -4, 4, 4, 1, 1, 1, 1])), "shape"),
    "nine axes": Hostile("volume", written("a.nii", nifti(dim=[9] + [1] * 7)), "a.nii"),
    "voxels begin at NaN": Hostile("volume", written("a.nii", nifti(vox_offset=np.nan)), "byte nan"),
    "voxels begin at 1e30": Hostile("volume", written("a.nii", nifti(vox_offset=1e30)), "but the file has"),
    "voxels begin inside the header": Hostile("volume", written("a.nii", nifti(vox_offset=4)), "vox offset 4"),
    "unknown type of voxel": Hostile("volume", written("a.nii", nifti(datatype=9999)), "cannot be understood"),
    "colour voxels": Hostile(
        "volume", written("a.nii", nifti(datatype=128, bitpix=24, dim=[3, 4, 4, 2, 1, 1, 1, 1])), "a.nii"
    ),
    "flat space": Hostile(
        "volume", written("a.nii", nifti(srow_x=[0] * 4, srow_y=[0] * 4, srow_z=[0] * 4)), "no frame in space"
    ),
    "NaN in the affine": Hostile("volume", written("a.nii", nifti(srow_x=[np.nan] * 4)), "no frame in space"),
}


# Weights


def torch_zip(marker_path: Path) -> bytes:
    """What torch.save writes, with a pickle of our own inside."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": Touch(marker_path)}))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return content.getvalue()


def torch_bomb() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
        archive.writestr("archive/data/0", bytes(64 << 20))
    return content.getvalue()


def safetensors(header: bytes, length: int | None = None, body: bytes = bytes(8)) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + body


def entry(**changes: object) -> bytes:
    return json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}).encode()


WEIGHTS = {
    "pickle called pt": Hostile("weights", pickled("a.pt"), "foreign code is never run"),
    "pickle called pth": Hostile("weights", pickled("a.pth"), "foreign code is never run"),
    "pickle called bin": Hostile("weights", pickled("a.bin"), "foreign code is never run"),
    "pickle called safetensors": Hostile("weights", pickled("a.safetensors"), "cannot be read as weights"),
    "checkpoint with a pickle inside": Hostile(
        "weights", lambda f: written("a.pt", torch_zip(marker(f)))(f), "foreign code is never run"
    ),
    "checkpoint that is a bomb": Hostile("weights", written("a.pt", torch_bomb()), "would unpack to"),
    "array with a pickle inside": Hostile(
        "weights", written("a.pt", b"\x93NUMPY\x01\x00" + pickle.dumps(np.array([None]))), "cannot be read"
    ),
    "header of one tebibyte": Hostile("weights", written("a.safetensors", safetensors(b"{}", 1 << 40)), "a.safetens"),
    "header longer than the file": Hostile("weights", written("a.safetensors", safetensors(b"{}", 99)), "a.safetens"),
    "header nested too deeply": Hostile(
        "weights", written("a.safetensors", safetensors(b'{"w":' + b"[" * 1_000_000)), "a.safetensors"
    ),
    "tensor of a tebibyte": Hostile(
        "weights", written("a.safetensors", safetensors(entry(shape=[1 << 38], data_offsets=[0, 1 << 40]))), "a.safe"
    ),
    "shape beyond any number": Hostile(
        "weights", written("a.safetensors", safetensors(entry(shape=[1 << 40] * 4))), "a.safetensors"
    ),
    "offsets backwards": Hostile("weights", written("a.safetensors", safetensors(entry(data_offsets=[8, 0]))), "a.s"),
    "unknown kind of number": Hostile("weights", written("a.safetensors", safetensors(entry(dtype="PY"))), "a.safe"),
}


# A weights folder as `train` writes it


def run(card: object, weights: bytes | None = None) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        text = card if isinstance(card, str) else json.dumps(card)
        written("run/model.json", text)(folder)
        content = safetensors(entry()) if weights is None else weights
        return written("run/model.safetensors", content)(folder).parent

    return make


RUNS = {
    "a method that is a function of Python": Hostile(
        "run", run({"schema": 1, "arm": {"method": "os.system"}}), "unknown method 'os.system'"
    ),
    "a class path in a card": Hostile(
        "run", run({"schema": 1, "arm": {"method": "unet", "_target_": "os.system"}}), "_target_"
    ),
    "a card nested too deeply": Hostile("run", run("[" * 200_000), "nested too deeply"),
    "a card with a number without end": Hostile("run", run('{"schema": ' + "9" * 10_000 + "}"), "is not JSON"),
    "a card that is a list": Hostile("run", run([1]), "schema"),
    "a pickle as weights": Hostile("run", run({"schema": 1}, pickle.dumps({"w": 1}) * 10), "is damaged"),
    "weights with a header of one tebibyte": Hostile("run", run({"schema": 1}, safetensors(b"{}", 1 << 40)), "damaged"),
    "weights of no bytes": Hostile("run", run({"schema": 1}, b""), "model.safetensors"),
}


# Configurations


def laughs(merge: bool) -> str:
    lines = ["a0: &a0 {k: 1}" if merge else "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 12):
        aliases = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} " + ("{<<: [" + aliases + "]}" if merge else f"[{aliases}]"))
    return "\n".join(lines)


CONFIGS = {
    "a function of Python": Hostile(
        "config",
        lambda f: written("a.yaml", f"dataset: !!python/object/apply:os.mknod ['{marker(f)}']")(f),
        "could not determine a constructor",
    ),
    "a new object of Python": Hostile(
        "config", written("a.yaml", "dataset: !!python/object/new:os.system [id]"), "could not determine a constructor"
    ),
    "a class path": Hostile("config", written("a.yaml", "arm: {method: unet, _target_: os.system}"), "_target_"),
    "a method that is a class path": Hostile(
        "config", written("a.yaml", "arm: {method: os.system}"), "unknown method 'os.system'"
    ),
    "a billion laughs": Hostile("config", written("a.yaml", laughs(merge=False)), "anchors stand for"),
    "a billion merges": Hostile("config", written("a.yaml", laughs(merge=True)), "anchors stand for"),
    "an anchor in itself": Hostile("config", written("a.yaml", "a: &a [*a]"), "contains itself"),
    "lists in lists in lists": Hostile("config", written("a.yaml", "[" * 20_000), "nested too deeply"),
    "two megabytes": Hostile("config", written("a.yaml", "a: " + "x" * (2 << 20)), "longer than"),
    "ten thousand unknown keys": Hostile(
        "config", written("a.yaml", "\n".join(f"k{i}: 1" for i in range(10_000))), "more"
    ),
    "a day that does not exist": Hostile("config", written("a.yaml", "dataset: 2020-13-45"), "not YAML"),
    "a number without end": Hostile("config", written("a.yaml", "dataset: " + "9" * 10_000), "not YAML"),
    "a tag its text does not fit": Hostile("config", written("a.yaml", "dataset: !!bool maybe"), "not fit its tag"),
    "no text": Hostile("config", written("a.yaml", bytes(range(256))), "cannot be read"),
}


# Records


RECORDS = {
    "a record nested too deeply": Hostile("record", written("a.json", '{"schema":' + "[" * 200_000), "nested too deep"),
    "a record of a million zeros": Hostile("record", lambda f: hollow(f / "a.json", 1 << 30), "larger than 64 MiB"),
    "a record that is a pickle": Hostile("record", pickled("a.json"), "is not a record"),
    "a study nested too deeply": Hostile(
        "study", lambda f: written("s/study.json", '{"schema":' + "[" * 200_000)(f).parent, "nested too deeply"
    ),
}


def hollow(path: Path, size: int) -> Path:
    """A file of zeros that takes no disk."""
    with path.open("wb") as stream:
        stream.truncate(size)
    return path


# Datasets and archives of datasets


def tar(*members: tuple[str, dict], body: bytes = b"", mode: str = "w") -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode, format=tarfile.GNU_FORMAT) as archive:
        for name, fields in members:
            info = tarfile.TarInfo(name)
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(bytes(info.size)) if info.isreg() else None)
    return content.getvalue() + body


def stated(kind: bytes, size: int) -> bytes:
    """A tar header alone that states what follows."""
    info = tarfile.TarInfo("a")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def zipped(name: str, content: bytes = b"x", mode: int = 0o100644, encrypted: bool = False) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    made = bytearray(buffer.getvalue())
    if encrypted:
        made[made.index(b"PK\x01\x02") + 8] |= 1
    return bytes(made)


def table(text: str) -> Callable[[Path], Path]:
    return written("a.csv", text)


def dataset_json(text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        written("set/imagesTr/a_0000.nii.gz", packed(nifti()))(folder)
        return written("set/dataset.json", text)(folder).parent

    return make


OUT = "leads out of the folder"
DATASETS = {
    "tar that climbs": Hostile("dataset", written("a.tar", tar(("../EXECUTED", {"size": 3}))), OUT),
    "tar with an absolute path": Hostile(
        "dataset", lambda f: written("a.tar", tar((str(marker(f)), {"size": 3})))(f), OUT
    ),
    "tar with a link": Hostile(
        "dataset", written("a.tar", tar(("a", {"type": tarfile.SYMTYPE, "linkname": "/etc"}))), "is a link"
    ),
    "tar with a hard link": Hostile(
        "dataset", written("a.tar", tar(("a", {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"}))), "is a link"
    ),
    "tar with a device": Hostile("dataset", written("a.tar", tar(("a", {"type": tarfile.CHRTYPE}))), "is a link"),
    "tar with a pipe": Hostile("dataset", written("a.tar", tar(("a", {"type": tarfile.FIFOTYPE}))), "is a link"),
    "tar with a name of a gigabyte": Hostile(
        "dataset", written("a.tar.gz", gigabyte(stated(tarfile.GNUTYPE_LONGNAME, 1 << 30))), "a header states"
    ),
    "tar with a pax header of a gigabyte": Hostile(
        "dataset", written("a.tar.gz", gigabyte(stated(tarfile.XHDTYPE, 1 << 30))), "a header states"
    ),
    "tar with the same name twice": Hostile(
        "dataset", written("a.tar", tar(("a", {"size": 3}), ("a", {"size": 3}))), "twice"
    ),
    "tar cut off": Hostile("dataset", written("a.tar", tar(("a", {"size": 9000}))[:4000]), "cannot be unpacked"),
    "tar bomb": Hostile(
        "dataset", written("a.tgz", gigabyte(stated(tarfile.REGTYPE, 1 << 30))), "unpacks to more than"
    ),
    "tar that is a pickle": Hostile("dataset", pickled("a.tar"), "cannot be unpacked"),
    "zip that climbs": Hostile("dataset", written("a.zip", zipped("../EXECUTED")), OUT),
    "zip that climbs backwards": Hostile("dataset", written("a.zip", zipped("..\\EXECUTED")), OUT),
    "zip with a link": Hostile("dataset", written("a.zip", zipped("a", b"/etc", 0o120777)), "is a link"),
    "zip bomb": Hostile("dataset", written("a.zip", zipped("a", bytes(96 << 20))), "unpacks to more than"),
    "zip with an entry without a name": Hostile("dataset", written("a.zip", zipped("")), "twice"),
    "zip with a lock": Hostile("dataset", written("a.zip", zipped("a", encrypted=True)), "encrypted"),
    "zip that is none": Hostile("dataset", written("a.zip", b"PK\x03\x04" + bytes(99)), "cannot be unpacked"),
    "table whose case climbs": Hostile("dataset", table("image,label,name\na.nii.gz,1,../../EXECUTED\n"), "case name"),
    "table with a line break in a name": Hostile("dataset", table('image,label,name\na.nii,1,"a\nb"\n'), "case name"),
    "table that is a pickle": Hostile("dataset", pickled("a.csv"), "CSV"),
    "table with a field of a megabyte": Hostile("dataset", table("image,label\n" + "x" * (1 << 20)), "CSV"),
    "table of a gigabyte": Hostile("dataset", lambda f: hollow(f / "a.csv", 1 << 30), "at most"),
    "description nested too deeply": Hostile("dataset", dataset_json('{"labels":' + "[" * 200_000), "too deeply"),
    "description of eight megabytes": Hostile("dataset", dataset_json(" " * (8 << 20)), "larger than 6 MiB"),
    "label that is a list": Hostile(
        "dataset", dataset_json('{"channel_names": {"0": "CT"}, "labels": {"a": [[1]]}}'), "region"
    ),
    "channel that is no number": Hostile("dataset", dataset_json('{"channel_names": {"x": "CT"}}'), "must be"),
}

# Point clouds, pictures and DICOM


def npy(shape: str = "(2, 3)", kind: str = "<f8", body: bytes = bytes(48)) -> bytes:
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def cloud(suffix: str) -> bytes:
    """A small whole file of each kind."""
    points = np.arange(6.0).reshape(2, 3)
    match suffix:
        case ".ply":
            lines = ["ply", "format ascii 1.0", "element vertex 2", *(f"property float {axis}" for axis in "xyz")]
            return "\n".join([*lines, "end_header", "0 1 2", "3 4 5", ""]).encode()
        case ".npy":
            return npy(body=points.tobytes())
        case ".npz":
            return zipped("points.npy", npy(body=points.tobytes()))
        case ".off":
            return b"OFF\n2 0 0\n0 1 2\n3 4 5\n"
        case ".pcd":
            return pcd(2) + points.tobytes()
        case ".las" | ".laz":
            file = laspy.LasData(laspy.LasHeader(point_format=0, version="1.2"))
            file.x, file.y, file.z = points.T
            stream = io.BytesIO()
            file.write(stream, do_compress=False)
            return stream.getvalue()
    return b"0 1 2\n3 4 5\n"


def pcd(count: int) -> bytes:
    head = "VERSION .7\nFIELDS x y z\nSIZE 8 8 8\nTYPE F F F\nCOUNT 1 1 1\n"
    return f"{head}WIDTH {count}\nHEIGHT 1\nPOINTS {count}\nDATA binary\n".encode()


def png(width: int, height: int) -> bytes:
    """A header of any size, and next to nothing behind it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes(3 * min(width, 64))) * min(height, 64))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def dicom(rows: int = 2, syntax: str = "1.2.840.10008.1.2.1", body: bytes = bytes(8)) -> bytes:
    """One CT slice as a file states it."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.2")
    meta.MediaStorageSOPInstanceUID = meta.ImplementationClassUID = UID("1.2.3")
    meta.TransferSyntaxUID = UID(syntax)
    one = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    one.SOPClassUID, one.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    one.Modality, one.PatientID, one.SeriesInstanceUID = "CT", "a", "1.2.4"
    one.ImagePositionPatient, one.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    one.PixelSpacing, one.SliceThickness, one.Rows, one.Columns = [1, 1], 1, rows, 2
    one.SamplesPerPixel, one.PhotometricInterpretation, one.PixelRepresentation = 1, "MONOCHROME2", 0
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelData = 16, 16, 15, body
    stream = io.BytesIO()
    one.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def series(*files: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        for number, content in enumerate(files):
            written(f"series/{number}.dcm", content)(folder)
        return folder / "series"

    return make


OTHERS = {
    "cloud that is a pickle": Hostile("cloud", pickled("a.npy"), "cannot be read"),
    "cloud of objects": Hostile(
        "cloud", lambda f: written("a.npy", npy(kind="|O", body=pickle.dumps(Touch(marker(f)))))(f), "Python objects"
    ),
    "cloud of objects in a zip": Hostile(
        "cloud",
        lambda f: written("a.npz", zipped("points.npy", npy(kind="|O", body=pickle.dumps(Touch(marker(f))))))(f),
        "Python objects",
    ),
    "array of an exabyte": Hostile("cloud", written("a.npy", npy("(1152921504606846976, 3)")), "states an array"),
    "array of less than nothing": Hostile("cloud", written("a.npy", npy("(-2, -3)")), "states an array"),
    "array header of code": Hostile("cloud", written("a.npy", npy("__import__('os').abort()")), "cannot be read"),
    "zip bomb called npz": Hostile("cloud", written("a.npz", zipped("points.npy", bytes(96 << 20))), "shrinks"),
    "PLY of a trillion points": Hostile(
        "cloud", written("a.ply", cloud(".ply").replace(b"vertex 2", b"vertex 1000000000000")), "states"
    ),
    "PCD of a trillion points": Hostile("cloud", written("a.pcd", pcd(10**12)), "states"),
    "OFF of a trillion points": Hostile("cloud", written("a.off", b"OFF\n1000000000000 0 0\n0 1 2\n"), "states"),
    "LAS of four billion records": Hostile(
        "cloud", written("a.las", cloud(".las")[:100] + b"\xff" * 4 + cloud(".las")[104:]), "records"
    ),
    "LAS that is a web page": Hostile("cloud", written("a.las", "<html>"), "a.las"),
    "picture bomb": Hostile("picture", written("a.png", png(60_000, 60_000)), "cannot be read as a picture"),
    "picture that is a pickle": Hostile("picture", pickled("a.jpg"), "cannot be read as a picture"),
    "series that is a pickle": Hostile("volume", lambda f: pickled("series/a.dcm")(f).parent, ""),
    "slice of more rows than bytes": Hostile("volume", series(dicom(65535), dicom(65535)), ""),
    "slice with a value of no kind": Hostile(
        "volume", series(dicom().replace(b"\x28\x00\x00\x01US", b"\x28\x00\x00\x01UP")), ""
    ),
    "slice cut off": Hostile("volume", series(dicom()[:-40]), ""),
    "slice packed in a bomb": Hostile(
        "volume", series(dicom(syntax="1.2.840.10008.1.2.1.99", body=bytes(64 << 20))), ""
    ),
}

CORPUS: dict[str, Hostile] = {**VOLUMES, **WEIGHTS, **RUNS, **CONFIGS, **RECORDS, **DATASETS, **OTHERS}
