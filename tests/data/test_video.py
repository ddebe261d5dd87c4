"""Videos as volumes: frames along depth, colours as channels; corrupt files are refused by name."""

import numpy as np
import pytest

from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.io.readers import read_grid, read_volume
from dimlift.data.preprocessing.preprocessing import Preprocessing
from dimlift.data.quality.check_dataset import check_dataset
from dimlift.errors import CorruptFileError, DataError

pytest.importorskip("av")

from small_videos import write_video


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv"])
def test_read_video_volume_axes(tmp_path, suffix):
    path = write_video(tmp_path / f"a.{suffix}")
    volume, grid = read_volume(path), read_grid(path)
    assert volume.array.shape == grid.shape == (48, 32, 12, 3)
    left, right = volume.array[8, 16], volume.array[40, 16]
    assert (np.diff(left[:, 1].astype(int)) > 0).all()
    assert (right[:, 0].astype(int) - left[:, 0]).min() > 15


def test_open_dataset_reads_class_folders(tmp_path):
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


def test_read_video_rejects_corrupt_files(tmp_path):
    whole = write_video(tmp_path / "whole.mp4").read_bytes()
    for name, content in (("noise", bytes(range(256)) * 20), ("cut", whole[: len(whole) // 2]), ("empty", b"")):
        path = tmp_path / f"{name}.mp4"
        path.write_bytes(content)
        with pytest.raises(CorruptFileError, match=rf"{name}\.mp4: cannot be decoded.*copy it again"):
            read_volume(path)
    whole = write_video(tmp_path / "whole.mkv", frames=60).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptFileError, match="to its end"):
        read_volume(tmp_path / "cut.mkv")
    with pytest.raises(DataError, match="does not exist"):
        read_grid(tmp_path / "absent.mp4")


def test_check_dataset_reports_corrupt_video(tmp_path):
    for number in range(4):
        write_video(tmp_path / ("run", "walk")[number % 2] / f"{number}.mp4", frames=8 + number)
    (tmp_path / "run" / "0.mp4").write_bytes(b"no video")
    dataset = open_dataset(tmp_path)
    assert dataset.channels == ("image1", "image2", "image3")
    errors = [issue for issue in check_dataset(dataset) if issue.level == "error"]
    assert [issue.file for issue in errors] == [str(tmp_path / "run" / "0.mp4")]


def test_read_video_rejects_large_files(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4")
    monkeypatch.setattr("dimlift.data.io.video.MAX_VALUES", 3 * 48 * 32 * 11)
    with pytest.raises(DataError, match="scale it down"):
        read_volume(path)
