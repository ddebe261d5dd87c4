"""A folder belongs to one run."""

import pytest

from dimlift.errors import RunError
from dimlift.studies.run_folder import claimed


def test_the_same_run_comes_back_and_another_is_turned_away(tmp_path):
    out = tmp_path / "run"
    for _ in range(2):
        with claimed(out, "train", "one", {"seed": 1, "training": {"rate": 0.1}}):
            pass
    with (
        pytest.raises(RunError, match=r"another run \(it differs in training.rate\); choose another folder"),
        claimed(out, "train", "two", {"seed": 1, "training": {"rate": 0.2}}),
    ):
        pass
    with pytest.raises(RunError, match="another run"), claimed(out, "compare", "one", {}):
        pass


def test_two_at_once_are_refused(tmp_path):
    with (
        claimed(tmp_path, "train", "one", {}),
        pytest.raises(RunError, match="another process is at work"),
        claimed(tmp_path, "train", "one", {}),
    ):
        pass
    with claimed(tmp_path, "train", "one", {}):
        pass


def test_results_of_unknown_origin_are_not_written_over(tmp_path):
    (tmp_path / "records").mkdir()
    with (
        pytest.raises(RunError, match="records that no run of dimlift put there"),
        claimed(tmp_path, "train", "one", {}),
    ):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["records"]


def test_a_file_is_no_folder(tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(RunError, match="is a file"), claimed(path, "train", "one", {}):
        pass


def refused(out, before=lambda out: None):
    with claimed(out, "train", "one", {}):
        before(out)
        raise RunError("no")


def test_a_refused_run_leaves_nothing_behind(tmp_path):
    new, old = tmp_path / "new", tmp_path / "old"
    old.mkdir()
    for out in (new, old):
        with pytest.raises(RunError, match="no"):
            refused(out)
    assert not new.exists()
    assert list(old.iterdir()) == []


def test_a_run_that_got_somewhere_keeps_its_folder(tmp_path):
    with pytest.raises(RunError, match="no"):
        refused(tmp_path, lambda out: (out / "checkpoints").mkdir())
    assert (tmp_path / "run.json").is_file()
    with claimed(tmp_path, "train", "one", {}):
        pass
