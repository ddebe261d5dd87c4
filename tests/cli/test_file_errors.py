"""Errors of the operating system: one message with the path, the fact and a remedy; exit code 2."""

import errno
import os

import pytest
import typer
from command_line import head, run_cli, run_rejected, write_image
from typer.testing import CliRunner

from dimlift.cli.console import CommandGroup
from dimlift.cli.file_errors import describe_file_error, describe_memory_error
from small_limits import limit_file_size


@pytest.mark.parametrize(
    ("number", "fact", "remedy"),
    [
        (errno.ENOSPC, "no space left on the disk", "free some space"),
        (errno.EDQUOT, "quota", "delete files"),
        (errno.EFBIG, "file too large", "ulimit -f"),
        (errno.EROFS, "read-only file system", "another folder"),
        (errno.EACCES, "permission denied", "permissions"),
        (errno.ENAMETOOLONG, "bytes", "shorten"),
        (errno.EMFILE, "too many open files", "ulimit -n"),
        (errno.EIO, "input/output error", "check the disk"),
        (errno.EXDEV, "cross-device link", "repeat the command"),
    ],
)
def test_file_error_names_path_fact_and_remedy(tmp_path, number, fact, remedy):
    path = str(tmp_path / "out")
    message = describe_file_error(OSError(number, os.strerror(number), path))
    assert message.startswith(f"{path}: ")
    assert fact in message.lower()
    assert remedy in message.split("; ", 1)[1]


def test_file_in_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    below = tmp_path / "file" / "a" / "b"
    with pytest.raises(OSError, match="Not a directory") as caught:
        below.mkdir(parents=True)
    assert f"{tmp_path / 'file'} is a file, not a folder" in describe_file_error(caught.value)


@pytest.mark.parametrize("error", [OSError("4000 requested and 1000 written"), OSError(), OSError(2, "No such file")])
def test_incomplete_file_errors_are_described(error):
    assert "; check the path" in describe_file_error(error)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes."),
        RuntimeError("could not create a primitive"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("can't start new thread"),
    ],
)
def test_failed_allocation_is_described(error):
    assert "out of memory" in describe_memory_error(error)
    assert describe_memory_error(RuntimeError("bug")) is None


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/data/out"), 2),
        (OSError("4000 requested and 1000 written"), 2),
        (MemoryError(), 2),
        (RuntimeError("bug"), 1),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1),
    ],
    ids=repr,
)
def test_command_group_prints_file_errors_and_lets_bugs_pass(error, code):
    app = typer.Typer(cls=CommandGroup, pretty_exceptions_enable=False)

    @app.callback()
    def main() -> None:
        """Be a group."""

    @app.command()
    def fail() -> None:
        raise error

    result = CliRunner().invoke(app, ["fail"])
    assert result.exit_code == code
    assert (code == 2) == result.stderr.startswith("error: ")


@pytest.mark.parametrize(
    "words",
    [
        ("train", "data", "--out", "{}"),
        ("predict", "run", "scan.nii.gz", "{}/out.nii.gz"),
        ("lift", "timm:resnet10t", "--no-certify", "--in-chans", "1", "--out", "{}"),
        ("embed", "data", "--out", "{}/emb.npz", "--planes", "1"),
    ],
    ids=lambda words: words[0],
)
def test_output_below_a_file_is_refused(run, tmp_path, monkeypatch, words):
    (tmp_path / "data").symlink_to(run.parent / "data")
    (tmp_path / "run").symlink_to(run)
    write_image(tmp_path / "scan.nii.gz", head(0)[0])
    (tmp_path / "file").write_text("my text")
    monkeypatch.chdir(tmp_path)
    message = run_rejected(*(word.format("file/below") for word in words))
    assert "file is a file, not a folder" in message
    assert (tmp_path / "file").read_text() == "my text"


def test_limited_file_size_leaves_no_weights(tmp_path):
    with limit_file_size(100_000):
        message = run_rejected("lift", "timm:resnet10t", "--no-certify", "--out", tmp_path / "lifted")
    assert "model.safetensors: file too large" in message
    assert not (tmp_path / "lifted").exists()


def test_long_names_are_written_or_refused(run, tmp_path):
    image = write_image(tmp_path / "scan.nii.gz", head(0)[0])
    longest = tmp_path / ("x" * 248 + ".nii.gz")
    assert run_cli("predict", run, image, longest).code == 0
    assert longest.is_file()
    assert "256 bytes" in run_rejected("predict", run, image, tmp_path / ("x" * 249 + ".nii.gz"))
    assert "shorten" in run_rejected("train", run.parent / "data", "--out", tmp_path / ("x" * 300))


def test_lift_leaves_nothing_if_its_weights_cannot_be_written(tmp_path, monkeypatch):
    replace, calls = os.replace, []

    def full(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    words = ("lift", "timm:test_resnet", "--no-certify", "--out", tmp_path / "lifted")
    with monkeypatch.context() as patch:
        patch.setattr("dimlift.records.atomic_write.os.replace", full)
        assert "no space left" in run_rejected(*words)
    assert not (tmp_path / "lifted").exists()
    assert run_cli(*words).code == 0
    assert "delete it" in run_rejected(*words)
