"""Videos are volumes: frames along depth, colours as channels; what cannot be decoded is refused by name."""

import numpy as np
import pytest

from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.io.readers import read_file, read_grid
from dimlift.data.preprocessing.preprocessing import Preprocessing
from dimlift.data.quality.check_dataset import check_dataset
from dimlift.errors import DamagedFile, DataError

pytest.importorskip("av")

from small_videos import write_video


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv"])
def test_frames_rows_and_columns_keep_their_places(tmp_path, suffix):
    path = write_video(tmp_path / f"a.{suffix}")
    volume, grid = read_file(path), read_grid(path)
    assert volume.array.shape == grid.shape == (48, 32, 12, 3)
    left, right = volume.array[8, 16], volume.array[40, 16]
    assert (np.diff(left[:, 1].astype(int)) > 0).all()
    assert (right[:, 0].astype(int) - left[:, 0]).min() > 15


def test_a_folder_for_each_class_is_a_dataset(tmp_path):
    for number in range(4):
        write_video(tmp_path / ("run", "walk")[number % 2] / f"{number}.mp4", frames=8 + number)
    dataset = open_dataset(tmp_path)
    assert dataset.task == "classification"
    assert dataset.labels == {"run": 0, "walk": 1}
    assert [(case.name, case.label) for case in dataset.cases][:2] == [("run_0", 0), ("run_2", 0)]
    preprocessing = Preprocessing.fit(dataset, dataset.cases, spacing=(4.0, 2.0, 2.0))
    sample = preprocessing.read(dataset.cases[0])
    assert sample.image.shape == (3, 2, 16, 24)  # every fourth of 8 frames, half the size
    (tmp_path / "list.csv").write_text("image,label\nrun/0.mp4,a\nwalk/1.mp4,b\n")
    assert open_dataset(tmp_path / "list.csv", task="classification").labels == {"a": 0, "b": 1}
    with pytest.raises(DataError, match="CSV"):
        open_dataset(tmp_path, task="regression")


def test_what_cannot_be_decoded_is_named(tmp_path):
    whole = write_video(tmp_path / "whole.mp4").read_bytes()
    for name, content in (("noise", bytes(range(256)) * 20), ("cut", whole[: len(whole) // 2]), ("empty", b"")):
        path = tmp_path / f"{name}.mp4"
        path.write_bytes(content)
        with pytest.raises(DamagedFile, match=rf"{name}\.mp4: cannot be decoded.*copy it again"):
            read_file(path)
    whole = write_video(tmp_path / "whole.mkv", frames=60).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedFile, match="to its end"):
        read_file(tmp_path / "cut.mkv")
    with pytest.raises(DataError, match="no such file"):
        read_grid(tmp_path / "absent.mp4")


def test_one_damaged_video_speaks_for_no_other(tmp_path):
    for number in range(4):
        write_video(tmp_path / ("run", "walk")[number % 2] / f"{number}.mp4", frames=8 + number)
    (tmp_path / "run" / "0.mp4").write_bytes(b"no video")
    dataset = open_dataset(tmp_path)
    assert dataset.channels == ("image1", "image2", "image3")
    errors = [finding for finding in check_dataset(dataset) if finding.level == "error"]
    assert [finding.file for finding in errors] == [str(tmp_path / "run" / "0.mp4")]


def test_a_video_that_would_fill_the_memory_is_not_decoded(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4")
    monkeypatch.setattr("dimlift.data.io.video.LARGEST", 3 * 48 * 32 * 11)
    with pytest.raises(DataError, match="make it smaller"):
        read_file(path)
