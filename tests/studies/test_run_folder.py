"""Ownership, locking and rollback of run folders."""

import os
from pathlib import Path

import pytest

from dimlift.errors import RunError
from dimlift.studies.run_folder import lock_run_folder


def test_lock_run_folder_accepts_same_run_only(tmp_path):
    out = tmp_path / "run"
    for _ in range(2):
        with lock_run_folder(out, "train", "one", {"seed": 1, "training": {"lr": 0.1}}):
            pass
    with (
        pytest.raises(RunError, match=r"another run \(it differs in training.lr\); choose another folder"),
        lock_run_folder(out, "train", "two", {"seed": 1, "training": {"lr": 0.2}}),
    ):
        pass
    with pytest.raises(RunError, match="another run"), lock_run_folder(out, "compare", "one", {}):
        pass


def test_lock_run_folder_rejects_concurrent_use(tmp_path):
    with (
        lock_run_folder(tmp_path, "train", "one", {}),
        pytest.raises(RunError, match="another process is using"),
        lock_run_folder(tmp_path, "train", "one", {}),
    ):
        pass
    with lock_run_folder(tmp_path, "train", "one", {}):
        pass


def test_lock_run_folder_rejects_foreign_files(tmp_path):
    (tmp_path / "records").mkdir()
    with (
        pytest.raises(RunError, match=r"holds records but no run\.json"),
        lock_run_folder(tmp_path, "train", "one", {}),
    ):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["records"]


def test_lock_run_folder_rejects_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(RunError, match="is a file"), lock_run_folder(path, "train", "one", {}):
        pass


def fail_in_folder(out, before=lambda out: None):
    with lock_run_folder(out, "train", "one", {}):
        before(out)
        raise RunError("no")


def test_failed_run_without_results_is_rolled_back(tmp_path):
    new, old = tmp_path / "new", tmp_path / "old"
    old.mkdir()
    for out in (new, old):
        with pytest.raises(RunError, match="no"):
            fail_in_folder(out)
    assert not new.exists()
    assert list(old.iterdir()) == []


def test_failed_run_with_results_keeps_its_folder(tmp_path):
    with pytest.raises(RunError, match="no"):
        fail_in_folder(tmp_path, lambda out: (out / "checkpoints").mkdir())
    assert (tmp_path / "run.json").is_file()
    with lock_run_folder(tmp_path, "train", "one", {}):
        pass


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_lock_is_no_file_outside_the_folder(tmp_path, link):
    mine = tmp_path / "mine"
    mine.write_text("my text")
    (tmp_path / "run").mkdir()
    link(tmp_path / "run" / ".lock", mine)
    with (
        pytest.raises(RunError, match=r"run/\.lock .*link.*delete it"),
        lock_run_folder(tmp_path / "run", "train", "one", {}),
    ):
        pass
    assert mine.read_text() == "my text"


def test_lock_is_not_a_pipe(tmp_path):
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(RunError, match="no regular file"), lock_run_folder(tmp_path, "train", "one", {}):
        pass


def test_file_error_is_rolled_back(tmp_path):
    with pytest.raises(OSError, match="No space"), lock_run_folder(tmp_path / "new", "train", "one", {}):
        raise OSError(28, "No space left on device")
    assert not (tmp_path / "new").exists()
