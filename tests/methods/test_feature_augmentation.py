"""Feature augmentations change intensities and scale, are deterministic, and have separate cache entries."""

import pytest
import torch

from dimlift.methods.frozen_features.cache import FeatureCache
from dimlift.methods.frozen_features.extraction import FeatureExtractor
from dimlift.methods.frozen_features.feature_augmentation import (
    IDENTITY,
    FeatureAugmentation,
    sample_feature_augmentations,
)
from dimlift.methods.frozen_features.settings import FeatureExtractionSettings


@pytest.fixture
def image():
    return torch.rand(1, 6, 10, 12, generator=torch.Generator().manual_seed(0))


def test_sample_feature_augmentations_starts_with_identity(image):
    augmentations = sample_feature_augmentations(image, 4)
    assert augmentations[0] == IDENTITY
    assert IDENTITY(image) is image
    assert len(set(augmentations)) == 4
    for augmentation in augmentations[1:]:
        assert not torch.allclose(augmentation(image), image, atol=1e-3)


def test_sample_feature_augmentations_is_deterministic(image):
    assert sample_feature_augmentations(image, 3) == sample_feature_augmentations(image.clone(), 3)
    assert sample_feature_augmentations(image, 3)[1:] != sample_feature_augmentations(image, 3, seed=1)[1:]
    assert sample_feature_augmentations(image, 3)[1:] != sample_feature_augmentations(image + 1, 3)[1:]
    noisy = FeatureAugmentation(noise=0.1, seed=5)
    torch.testing.assert_close(noisy(image), noisy(image), rtol=0, atol=0)
    assert abs(float((noisy(image) - image).std()) - 0.1) < 0.02


def test_feature_cache_separates_augmentations(image, two_stages, tmp_path):
    cache = FeatureCache(tmp_path, FeatureExtractor(FeatureExtractionSettings(stages=(0, 1)), two_stages))
    augmentations = [
        IDENTITY,
        FeatureAugmentation(gamma=0.7),
        FeatureAugmentation(upsample=1.1),
        FeatureAugmentation(noise=0.05),
    ]
    assert len({cache.key(image, augmentation=augmentation) for augmentation in augmentations}) == len(augmentations)
    plain, *others = (cache(image, augmentation=augmentation) for augmentation in augmentations)
    assert [len(each) for each in others] == [len(plain)] * 3
    assert not torch.equal(plain[0], others[0][0])
    assert others[1][0].shape != plain[0].shape  # larger slices, more feature voxels
    again = cache(image, augmentation=augmentations[1])
    assert torch.equal(again[0], others[0][0])
    assert (cache.hits, cache.misses) == (1, 4)
