"""The cache gives back the very bits, and finds them by image, weights and settings."""

import torch
from safetensors import safe_open

from dimlift.methods.frozen_features.cache import FeatureCache
from dimlift.methods.frozen_features.extraction import Extractor
from dimlift.methods.frozen_features.settings import BorrowSettings

SETTINGS = BorrowSettings(stages=(0, 1))


def test_a_hit_gives_identical_bits_without_asking_the_network(tmp_path, two_stages):
    image = torch.rand(1, 5, 8, 8)
    first = FeatureCache(tmp_path / "features", Extractor(SETTINGS, two_stages))
    fresh = first(image)
    again = FeatureCache(tmp_path / "features", Extractor(SETTINGS, two_stages))
    again.extractor.pictures_to_maps = None  # would fail if it were asked
    stored = again(image)
    assert [m.dtype for m in stored] == [m.dtype for m in fresh] == [torch.float16] * 2
    torch.testing.assert_close(stored, fresh, rtol=0, atol=0)
    assert (first.hits, first.misses, again.hits, again.misses) == (0, 1, 1, 0)
    assert first.seconds > 0
    assert again.seconds == 0


def test_the_key_follows_image_weights_settings_and_spacing(tmp_path, two_stages, other_two_stages):
    image = torch.rand(1, 5, 8, 8)
    moved = image.clone()
    moved[0, 4, 7, 7] += 1e-6
    cache = FeatureCache(tmp_path, Extractor(SETTINGS, two_stages))
    keys = [
        cache.key(image),
        cache.key(moved),
        cache.key(image, (2.0, 1.0, 1.0)),
        cache.key(image.reshape(1, 5, 4, 16)),
        FeatureCache(tmp_path, Extractor(SETTINGS, other_two_stages)).key(image),
        FeatureCache(tmp_path, Extractor(BorrowSettings(stages=(0,)), two_stages)).key(image),
    ]
    assert len(set(keys)) == len(keys)
    assert cache.key(image.clone()) == keys[0]


def test_a_damaged_file_is_written_anew_and_no_half_file_is_left(tmp_path, two_stages):
    image = torch.rand(1, 5, 8, 8)
    cache = FeatureCache(tmp_path, Extractor(SETTINGS, two_stages))
    fresh = cache(image)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-10])
    torch.testing.assert_close(cache(image), fresh, rtol=0, atol=0)
    assert cache.misses == 2
    assert list(tmp_path.iterdir()) == [path]
    with safe_open(path, framework="pt") as stored:
        assert "stages" in stored.metadata()["settings"]
