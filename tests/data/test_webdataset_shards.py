"""Tar shards of pictures, depth and labels: each example once, decoded, or refused by name."""

import io
import json
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from dimlift.data.io.webdataset_shards import find_shards, read_shards
from dimlift.errors import DamagedFile, DataError


def as_png(array):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, format="png")
    return stream.getvalue()


def colours(number):
    return np.random.default_rng(number).integers(0, 256, (4, 6, 3), dtype=np.uint8)


def members_of(number, size=(4, 6)):
    depth = np.full(size, 1500 + number, np.uint16)
    return {"png": as_png(colours(number)), "depth.png": as_png(depth), "cls": str(number).encode(),
            "json": json.dumps({"room": number}).encode()}  # fmt: skip


def write(path, members):
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


@pytest.fixture
def shards(tmp_path):
    """Four shards of three examples."""
    for shard in range(4):
        numbers = range(3 * shard, 3 * shard + 3)
        write(tmp_path / f"{shard}.tar", [(f"{n:04d}.{k}", c) for n in numbers for k, c in members_of(n).items()])
    return find_shards(tmp_path)


def test_an_example_is_what_was_written(shards):
    for number, example in enumerate(read_shards(shards)):
        assert (example.key, example.label, example.about) == (f"{number:04d}", number, {"room": number})
        wanted = torch.from_numpy(colours(number)).permute(2, 0, 1) / 255
        torch.testing.assert_close(example.picture, wanted)
        torch.testing.assert_close(example.depth, torch.full((1, 4, 6), (1500 + number) / 1000))


def test_workers_share_the_shards_and_an_epoch_has_its_order(shards):
    def keys(**how):
        return [example.key for example in read_shards(shards, **how)]

    parts = [keys(seed=1, epoch=2, part=part, parts=3) for part in range(3)]
    assert sorted(key for part in parts for key in part) == sorted(keys())
    assert keys(seed=1, epoch=2) == keys(seed=1, epoch=2)
    assert len({tuple(keys(seed=1, epoch=epoch)) for epoch in range(6)}) > 1
    with pytest.raises(DataError, match="start 4 workers"):
        keys(parts=5)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("a.png", b"no picture")], "'a' cannot be read"),
        ([("a.cls", b"1")], "one picture"),
        ([(f"a.{k}", c) for k, c in members_of(0, size=(3, 6)).items()], "its depth is of"),
        ([("a.png", members_of(0)["png"]), ("b.png", members_of(1)["png"]), ("a.cls", b"1")], "do not lie together"),
        ([("a.png", members_of(0)["png"]), ("a.cls", b"chair")], "'a' cannot be read"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, members, message):
    write(tmp_path / "bad.tar", members)
    with pytest.raises(DamagedFile, match=rf"bad\.tar.*{message}"):
        list(read_shards(find_shards(tmp_path)))


def test_a_cut_shard_and_an_empty_folder_are_refused(shards, tmp_path):
    shards[0].write_bytes(shards[0].read_bytes()[:700])
    with pytest.raises(DamagedFile, match="cut off"):
        list(read_shards(shards))
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match=r"no \.tar shard"):
        find_shards(tmp_path / "none")
