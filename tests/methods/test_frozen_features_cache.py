"""The feature cache returns identical features, keyed by image, weights and settings."""

import torch
from safetensors import safe_open

from dimlift.methods.frozen_features.cache import FeatureCache
from dimlift.methods.frozen_features.extraction import FeatureExtractor
from dimlift.methods.frozen_features.settings import FeatureExtractionSettings

SETTINGS = FeatureExtractionSettings(stages=(0, 1))


def test_feature_cache_hit_is_bit_identical_without_extraction(tmp_path, two_stages):
    image = torch.rand(1, 5, 8, 8)
    first = FeatureCache(tmp_path / "features", FeatureExtractor(SETTINGS, two_stages))
    extracted = first(image)
    again = FeatureCache(tmp_path / "features", FeatureExtractor(SETTINGS, two_stages))
    again.extractor.images_to_maps = None  # any extraction would fail
    stored = again(image)
    assert [m.dtype for m in stored] == [m.dtype for m in extracted] == [torch.float16] * 2
    torch.testing.assert_close(stored, extracted, rtol=0, atol=0)
    assert (first.hits, first.misses, again.hits, again.misses) == (0, 1, 1, 0)
    assert first.seconds > 0
    assert again.seconds == 0


def test_feature_cache_key_depends_on_image_weights_settings_and_spacing(tmp_path, two_stages, other_two_stages):
    image = torch.rand(1, 5, 8, 8)
    moved = image.clone()
    moved[0, 4, 7, 7] += 1e-6
    cache = FeatureCache(tmp_path, FeatureExtractor(SETTINGS, two_stages))
    keys = [
        cache.key(image),
        cache.key(moved),
        cache.key(image, (2.0, 1.0, 1.0)),
        cache.key(image.reshape(1, 5, 4, 16)),
        FeatureCache(tmp_path, FeatureExtractor(SETTINGS, other_two_stages)).key(image),
        FeatureCache(tmp_path, FeatureExtractor(FeatureExtractionSettings(stages=(0,)), two_stages)).key(image),
    ]
    assert len(set(keys)) == len(keys)
    assert cache.key(image.clone()) == keys[0]


def test_feature_cache_replaces_corrupt_file(tmp_path, two_stages):
    image = torch.rand(1, 5, 8, 8)
    cache = FeatureCache(tmp_path, FeatureExtractor(SETTINGS, two_stages))
    extracted = cache(image)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-10])
    torch.testing.assert_close(cache(image), extracted, rtol=0, atol=0)
    assert cache.misses == 2
    assert list(tmp_path.iterdir()) == [path]
    with safe_open(path, framework="pt") as stored:
        assert "stages" in stored.metadata()["settings"]
