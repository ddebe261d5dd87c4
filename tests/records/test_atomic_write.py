"""Atomic writes: errors name the file that was to be written, and leave the one before."""

import errno
import os

import pytest
import torch
from safetensors.torch import save_file

from dimlift.errors import RunError
from dimlift.records.atomic_write import atomic_write
from dimlift.records.own_file import open_own_file
from dimlift.records.record import write_text
from small_limits import limit_file_size


def write_tensors(path):
    save_file({"x": torch.zeros(1000)}, path)


def write_bytes(path):
    path.write_bytes(bytes(4000))


@pytest.mark.parametrize("write", [write_tensors, write_bytes])
def test_limited_file_size_is_an_error_with_the_path(tmp_path, write):
    path = tmp_path / "weights"
    path.write_text("before")
    with limit_file_size(1000), pytest.raises(OSError, match="large") as caught, atomic_write(path) as scratch:
        write(scratch)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert path.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["weights"]


def test_error_about_another_file_keeps_its_path(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic_write(tmp_path / "copy") as scratch:
        scratch.write_bytes((tmp_path / "absent").read_bytes())
    assert caught.value.filename == str(tmp_path / "absent")


def test_name_of_255_bytes_is_written(tmp_path):
    name = "ä" * 125 + "x.txt"
    assert len(name.encode()) == 255
    write_text(tmp_path / name, "content")
    assert (tmp_path / name).read_text() == "content"
    with pytest.raises(OSError, match="too long"):
        write_text(tmp_path / f"x{name}", "content")
    assert os.listdir(tmp_path) == [name]


def test_link_in_place_of_the_temporary_file_is_removed(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("my text")
    (tmp_path / f".page.{os.getpid()}.part").symlink_to(mine)
    write_text(tmp_path / "page", "content")
    assert mine.read_text() == "my text"


def test_own_file_is_not_emptied(tmp_path):
    (tmp_path / "attempts").write_text("first\n")
    with os.fdopen(open_own_file(tmp_path / "attempts", os.O_WRONLY | os.O_APPEND), "a") as stream:
        stream.write("second\n")
    assert (tmp_path / "attempts").read_text() == "first\nsecond\n"


def test_link_is_not_followed(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "new")
    with pytest.raises(RunError, match="is a link"):
        open_own_file(tmp_path / "link", os.O_RDWR)
    assert not (tmp_path / "new").exists()
