"""Images of a folder: listing, splitting, deterministic sampling, corrupt files."""

import numpy as np
import pytest
import torch
from PIL import Image

from dimlift.data.io.images import ImageSampler, find_images, read_centre_crop, sample_crop_size, split_images
from dimlift.errors import CorruptFileError, DataError


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("cat/a.png", "cat/b.jpg", "dog/c.png", "dog/deep/d.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)).save(path)
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def test_find_images_labels_by_folder(folder):
    found = find_images(folder)
    assert [path.name for path in found.paths] == ["a.png", "b.jpg", "c.png", "d.png"]
    assert found.classes == ("cat", "dog")
    assert found.labels == (0, 0, 1, 1)
    assert find_images(folder / "cat").labels == ()


def test_find_images_rejects_empty_folder(tmp_path):
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(DataError, match=str(path)):
            find_images(path)


def test_split_images_is_disjoint(folder):
    train, val = split_images(find_images(folder), 2, seed=3)
    assert not set(train.paths) & set(val.paths)
    assert set(train.paths) | set(val.paths) == set(find_images(folder).paths)
    assert [train.classes[i] for i in train.labels] == [path.relative_to(folder).parts[0] for path in train.paths]
    with pytest.raises(DataError, match="validation images"):
        split_images(train, 2)


def test_image_sampler_depends_on_seed_and_step(folder):
    sampler = ImageSampler(find_images(folder), 16, seed=1)
    first = sampler.batch(5, 3)
    sampler.batch(6, 3)
    repeated = ImageSampler(find_images(folder), 16, seed=1).batch(5, 3)
    assert torch.equal(first.image, repeated.image)
    assert first.cases == repeated.cases
    assert len(set(first.cases)) == 3
    assert not torch.equal(first.image, sampler.batch(6, 3).image)
    assert not torch.equal(first.image, ImageSampler(find_images(folder), 16, seed=2).batch(5, 3).image)


def test_image_sampler_labels_match_images(folder):
    found = find_images(folder)
    batch = ImageSampler(found, 8).batch(0, 4)
    classes = {path.name: label for path, label in zip(found.paths, found.labels, strict=True)}
    assert batch.label.tolist() == [classes[name] for name in batch.cases]


def test_sample_crop_size_is_inside_image():
    rng = np.random.default_rng(0)
    for _ in range(200):
        width, height = sample_crop_size((40, 30), rng)
        assert 0 < width <= 40
        assert 0 < height <= 30


def test_read_centre_crop(tmp_path):
    pixels = np.zeros((4, 8, 3), dtype=np.uint8)
    pixels[:, 2:6] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert torch.equal(read_centre_crop(tmp_path / "wide.png", 4), torch.ones(3, 4, 4))


def test_read_rgb_rejects_truncated_image(folder):
    path = folder / "cat" / "a.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CorruptFileError, match=r"a\.png"):
        read_centre_crop(path, 8)
