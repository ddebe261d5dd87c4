"""Pictures from a folder: found, split, drawn the same way every time, refused when damaged."""

import numpy as np
import pytest
import torch
from PIL import Image

from dimlift.data.io.images import PictureSampler, crop_size, find_pictures, split_pictures, whole_picture
from dimlift.errors import DamagedFile, DataError


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("cat/a.png", "cat/b.jpg", "dog/c.png", "dog/deep/d.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)).save(path)
    (tmp_path / "notes.txt").write_text("not a picture")
    return tmp_path


def test_folders_name_the_classes(folder):
    found = find_pictures(folder)
    assert [path.name for path in found.paths] == ["a.png", "b.jpg", "c.png", "d.png"]
    assert found.classes == ("cat", "dog")
    assert found.labels == (0, 0, 1, 1)
    assert find_pictures(folder / "cat").labels == ()


def test_an_empty_or_missing_folder_is_named(tmp_path):
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(DataError, match=str(path)):
            find_pictures(path)


def test_held_out_pictures_are_never_drawn(folder):
    learn, asked = split_pictures(find_pictures(folder), 2, seed=3)
    assert not set(learn.paths) & set(asked.paths)
    assert set(learn.paths) | set(asked.paths) == set(find_pictures(folder).paths)
    assert [learn.classes[i] for i in learn.labels] == [path.relative_to(folder).parts[0] for path in learn.paths]
    with pytest.raises(DataError, match="held out"):
        split_pictures(learn, 2)


def test_a_step_draws_the_same_pictures_whatever_came_before(folder):
    sampler = PictureSampler(find_pictures(folder), 16, seed=1)
    first = sampler.batch(5, 3)
    sampler.batch(6, 3)
    again = PictureSampler(find_pictures(folder), 16, seed=1).batch(5, 3)
    assert torch.equal(first.image, again.image)
    assert first.cases == again.cases
    assert len(set(first.cases)) == 3
    assert not torch.equal(first.image, sampler.batch(6, 3).image)
    assert not torch.equal(first.image, PictureSampler(find_pictures(folder), 16, seed=2).batch(5, 3).image)


def test_labels_belong_to_their_pictures(folder):
    found = find_pictures(folder)
    batch = PictureSampler(found, 8).batch(0, 4)
    classes = {path.name: label for path, label in zip(found.paths, found.labels, strict=True)}
    assert batch.label.tolist() == [classes[name] for name in batch.cases]


def test_crops_lie_inside_the_picture():
    rng = np.random.default_rng(0)
    for _ in range(200):
        width, height = crop_size((40, 30), rng)
        assert 0 < width <= 40
        assert 0 < height <= 30


def test_the_middle_square_is_shown_whole(tmp_path):
    pixels = np.zeros((4, 8, 3), dtype=np.uint8)
    pixels[:, 2:6] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert torch.equal(whole_picture(tmp_path / "wide.png", 4), torch.ones(3, 4, 4))


def test_a_picture_cut_short_is_named(folder):
    path = folder / "cat" / "a.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DamagedFile, match=r"a\.png"):
        whole_picture(path, 8)
