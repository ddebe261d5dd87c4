"""Batches moved to a device."""

import torch

from dimlift.batch import ImageBatch, PairedBatch, VolumeBatch, on_device


def test_on_device_converts_memory_format_and_keeps_values():
    volumes = VolumeBatch(torch.rand(2, 1, 3, 4, 5), torch.ones(2, 3, 4, 5, dtype=torch.int64), ("a", "b"))
    images = ImageBatch(torch.rand(2, 3, 4, 4), None, ("c.jpg", "d.jpg"))
    moved = on_device(PairedBatch(volumes, images), torch.device("cpu"))
    assert moved.cases == ("a", "b", "c.jpg", "d.jpg")
    assert torch.equal(moved.image, volumes.image)
    assert moved.image.is_contiguous(memory_format=torch.channels_last_3d)
    assert moved.images.image.is_contiguous(memory_format=torch.channels_last)
    assert moved.volumes.label.is_contiguous()
    assert moved.volumes.features is None
    assert moved.images.label is None


def test_on_device_moves_every_tensor():
    images = ImageBatch(torch.rand(2, 3, 4, 4), torch.tensor([0, 1]), ("c.jpg", "d.jpg"))
    moved = on_device(images, torch.device("meta"))
    assert moved.image.is_meta
    assert moved.label.is_meta
