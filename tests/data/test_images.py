"""Images of a folder: listing, splitting, deterministic sampling, corrupt files."""

import numpy as np
import pytest
import torch
from PIL import Image

from dimlift.data.io.image_file import read_rgb, require_readable_images
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


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_read_rgb_scales_grey_by_bit_depth(tmp_path, suffix):
    ramp = np.linspace(0, 65535, 256).reshape(16, 16).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / f"a.{suffix}")
    found = np.asarray(read_rgb(tmp_path / f"a.{suffix}"))
    assert found.shape == (16, 16, 3)
    np.testing.assert_array_equal(found[..., 1].ravel(), np.arange(256))


@pytest.mark.parametrize("largest", [1, 255, 65535])
def test_read_rgb_scales_float_by_range(tmp_path, largest):
    Image.fromarray((np.linspace(0, largest, 256)).reshape(16, 16).astype(np.float32)).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(np.asarray(read_rgb(tmp_path / "a.tif"))[..., 0].ravel(), np.arange(256))


@pytest.mark.parametrize("value", [np.nan, -1.0, 1e6])
def test_read_rgb_refuses_float_out_of_range(tmp_path, value):
    Image.fromarray(np.array([[0, value], [0, 1]], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif has floating-point values"):
        read_rgb(tmp_path / "a.tif")


def test_read_rgb_refuses_other_formats_whatever_the_suffix(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n")
    Image.new("RGB", (4, 4)).save(tmp_path / "b.png", format="GIF")
    for name in ("a.jpg", "b.png"):
        with pytest.raises(CorruptFileError, match=name):
            read_rgb(tmp_path / name)


def test_find_images_leaves_out_hidden_files(folder):
    before = find_images(folder).paths
    (folder / "cat" / "._a.png").write_bytes(b"\0\5\26\7")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "a.png").write_bytes(b"\0")
    assert find_images(folder).paths == before


def test_require_readable_images_names_every_broken_image(folder):
    paths = find_images(folder).paths
    require_readable_images(paths)
    for path in paths[:2]:
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"2 of 4 images cannot be used: .*a\.png.*b\.jpg"):
        require_readable_images(paths)
