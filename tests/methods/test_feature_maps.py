"""Cached feature maps of a frozen network."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dimlift.methods.teachers.feature_maps import CachedFeatureMaps, resize_to_patches, sample_pairs
from dimlift.methods.teachers.teacher import wrap_teacher
from small_teacher import PatchNetwork


@pytest.fixture
def maps():
    return CachedFeatureMaps(wrap_teacher(PatchNetwork()))


def test_sample_pairs_matches_the_upsampled_map():
    maps = torch.randn(1, 5, 3, 4)
    rows, columns = torch.randint(0, 24, (30,)), torch.randint(0, 32, (30,))
    uv = torch.stack([(columns + 0.5) / 32 * 2 - 1, (rows + 0.5) / 24 * 2 - 1], 1)
    upsampled = F.interpolate(maps, (24, 32), mode="bilinear", align_corners=False)
    sampled = sample_pairs(maps, uv, torch.zeros(30, dtype=torch.long))
    assert torch.allclose(sampled, upsampled[0, :, rows, columns].T, atol=1e-5)


def test_cached_feature_maps_are_keyed_by_weights_and_image(tmp_path, maps):
    cached = CachedFeatureMaps(maps.teacher, tmp_path)
    images = torch.rand(2, 3, 16, 24)
    first = cached(images)
    assert torch.allclose(first, maps(images), atol=1e-2)
    assert torch.equal(cached(images), first)
    assert (cached.misses, cached.hits) == (2, 2)
    cached(images + 0.01)
    assert cached.misses == 4
    other = PatchNetwork()
    nn.init.zeros_(other.conv.weight)
    assert not torch.allclose(CachedFeatureMaps(wrap_teacher(other), tmp_path)(images), first)
    (path, *_) = sorted(tmp_path.glob("*.safetensors"))
    path.write_bytes(b"corrupt")
    assert torch.equal(cached(images), first)


def test_cached_feature_maps_accept_images_of_any_size(maps):
    assert resize_to_patches(torch.rand(1, 3, 30, 45), maps.teacher).shape[2:] == (32, 48)
    assert maps(torch.rand(1, 3, 30, 45)).shape[2:] == (4, 6)
    assert CachedFeatureMaps(maps.teacher, upsample=2)(torch.rand(1, 3, 32, 48)).shape[2:] == (8, 12)
