"""Archives: extracted once, completely or not at all, within limits."""

import os
import shutil
import tarfile
import zipfile

import numpy as np
import pytest

from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.io.archives import ArchiveLimits, unpacked_folder
from dimlift.errors import DataError


def pack(folder, kind, where):
    path = where / f"set.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(folder.rglob("*")):
                archive.write(file, file.relative_to(folder.parent))
    else:
        mode = {"tar": "w", "tgz": "w:gz", "tar.gz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}[kind]
        with tarfile.open(path, mode) as archive:
            archive.add(folder, folder.name)
    return path


@pytest.mark.parametrize("kind", ["tar", "tgz", "tar.gz", "tar.bz2", "tar.xz", "zip"])
def test_unpacked_folder_reproduces_files(tmp_path, kind):
    source = tmp_path / "source"
    rng = np.random.default_rng(0)
    for name, size in (("a.bin", 0), ("b/c.bin", 512), ("b/d" + "x" * 120 + ".bin", 700), ("b/é.bin", 3_000_000)):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(rng.bytes(size))
    found = unpacked_folder(pack(source, kind, tmp_path))
    assert found.name == "source"
    names = [file.relative_to(source) for file in sorted(source.rglob("*"))]
    assert [file.relative_to(found) for file in sorted(found.rglob("*"))] == names
    for name in names:
        assert (source / name).is_dir() or (found / name).read_bytes() == (source / name).read_bytes()


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_open_dataset_reads_archives(nnunet_folder, tmp_path, kind):
    folder = nnunet_folder()
    dataset = open_dataset(pack(folder, kind, tmp_path))
    assert dataset.manifest_hash() == open_dataset(folder).manifest_hash()


def test_unpacked_folder_extracts_once(nnunet_folder, tmp_path):
    path = pack(nnunet_folder(), "tar", tmp_path)
    first = unpacked_folder(path)
    marker = first / "kept.txt"
    marker.write_text("here")
    assert unpacked_folder(path) == first
    assert marker.exists()
    later = first.parent.stat().st_mtime + 10
    os.utime(path, (later, later))
    with pytest.raises(DataError, match="delete that folder"):
        unpacked_folder(path)
    shutil.rmtree(first.parent)
    assert not (unpacked_folder(path) / "kept.txt").exists()


@pytest.mark.parametrize(
    ("limits", "message"),
    [(ArchiveLimits(entries=4), "more than 4 entries"), (ArchiveLimits(ratio=0.1, always=0), "extracts to more")],
)
def test_unpacked_folder_enforces_limits(nnunet_folder, tmp_path, limits, message):
    path = pack(nnunet_folder(), "zip", tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DataError, match=message) as refusal:
        unpacked_folder(path, limits)
    assert str(path) in str(refusal.value)
    assert sorted(tmp_path.iterdir()) == before


def test_unpacked_folder_rejects_file_as_folder(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"file")
        archive.writestr("a/b", b"file in a file")
    with pytest.raises(DataError, match="cannot be extracted"):
        unpacked_folder(path)
