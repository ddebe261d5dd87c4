"""FIFOs, devices, sockets and link loops are refused by name before they are opened; reading a FIFO would never end."""

import os
import socket
from pathlib import Path

import numpy as np
import pytest
from corpus import nifti

from dimlift.data.io.readers import VOLUME_READERS, list_volumes, read_grid, read_volume
from dimlift.errors import DataError


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(path))


def link_to_device(path: Path) -> None:
    os.symlink("/dev/zero", path)


def link_to_itself(path: Path) -> None:
    os.symlink(path.name, path)


def leave_dangling(path: Path) -> None:
    os.symlink("nowhere", path)


@pytest.mark.parametrize("suffix", VOLUME_READERS)
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (make_fifo, "is a FIFO"),
        (make_socket, "is a socket"),
        (link_to_device, "is a device"),
        (link_to_itself, "cannot be opened"),
        (leave_dangling, "does not exist"),
    ],
)
def test_special_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, make, message: str):
    monkeypatch.chdir(tmp_path)
    path = Path(f"a{suffix}")
    make(path)
    for read in (read_volume, read_grid):
        with pytest.raises(DataError, match=f"a{suffix}: {message}"):
            read(path)


@pytest.mark.parametrize("detached", [".mhd", ".nhdr"])
def test_voxels_of_a_detached_header_in_a_fifo_are_refused(tmp_path: Path, detached: str):
    sitk = pytest.importorskip("SimpleITK")
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 2, 2), np.uint8)), str(tmp_path / f"a{detached}"))
    (tmp_path / "a.raw").unlink()
    os.mkfifo(tmp_path / "a.raw")
    with pytest.raises(DataError, match=r"lacks a\.raw"):
        read_volume(tmp_path / f"a{detached}")


def test_listing_follows_no_link_loop(tmp_path: Path):
    (tmp_path / "a.nii").write_bytes(nifti())
    os.symlink(tmp_path, tmp_path / "loop")
    os.symlink("itself", tmp_path / "itself")
    os.mkfifo(tmp_path / "b.nii")
    assert [path.name for path in list_volumes(tmp_path)] == ["a.nii", "b.nii"]
