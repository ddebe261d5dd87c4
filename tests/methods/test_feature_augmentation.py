"""Looks change what the 2D network is shown, never where; they follow from the voxels and the seed."""

import pytest
import torch

from dimlift.methods.frozen_features.cache import FeatureCache
from dimlift.methods.frozen_features.extraction import Extractor
from dimlift.methods.frozen_features.feature_augmentation import PLAIN, Look, draw_looks
from dimlift.methods.frozen_features.settings import BorrowSettings


@pytest.fixture
def image():
    return torch.rand(1, 6, 10, 12, generator=torch.Generator().manual_seed(0))


def test_the_plain_look_comes_first_and_changes_nothing(image):
    looks = draw_looks(image, 4)
    assert looks[0] == PLAIN
    assert PLAIN(image) is image
    assert len(set(looks)) == 4
    for look in looks[1:]:
        assert not torch.allclose(look(image), image, atol=1e-3)


def test_looks_follow_from_voxels_and_seed(image):
    assert draw_looks(image, 3) == draw_looks(image.clone(), 3)
    assert draw_looks(image, 3)[1:] != draw_looks(image, 3, seed=1)[1:]
    assert draw_looks(image, 3)[1:] != draw_looks(image + 1, 3)[1:]
    noisy = Look(noise=0.1, seed=5)
    torch.testing.assert_close(noisy(image), noisy(image), rtol=0, atol=0)
    assert abs(float((noisy(image) - image).std()) - 0.1) < 0.02


def test_every_look_has_its_own_place_in_the_cache(image, two_stages, tmp_path):
    cache = FeatureCache(tmp_path, Extractor(BorrowSettings(stages=(0, 1)), two_stages))
    looks = [PLAIN, Look(gamma=0.7), Look(enlarge=1.1), Look(noise=0.05)]
    assert len({cache.key(image, look=look) for look in looks}) == len(looks)
    plain, *others = (cache(image, look=look) for look in looks)
    assert [len(each) for each in others] == [len(plain)] * 3
    assert not torch.equal(plain[0], others[0][0])
    assert others[1][0].shape != plain[0].shape  # larger slices, more feature voxels
    again = cache(image, look=looks[1])
    assert torch.equal(again[0], others[0][0])
    assert (cache.hits, cache.misses) == (1, 4)
