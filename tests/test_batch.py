"""What a batch is, on its way to a device."""

import torch

from dimlift.batch import ImageBatch, PairedBatch, VolumeBatch, on_device


def test_a_paired_batch_moves_whole_and_keeps_its_values():
    volumes = VolumeBatch(torch.rand(2, 1, 3, 4, 5), torch.ones(2, 3, 4, 5, dtype=torch.int64), ("a", "b"))
    pictures = ImageBatch(torch.rand(2, 3, 4, 4), None, ("c.jpg", "d.jpg"))
    moved = on_device(PairedBatch(volumes, pictures), torch.device("cpu"))
    assert moved.cases == ("a", "b", "c.jpg", "d.jpg")
    assert torch.equal(moved.image, volumes.image)
    assert moved.image.is_contiguous(memory_format=torch.channels_last_3d)
    assert moved.pictures.image.is_contiguous(memory_format=torch.channels_last)
    assert moved.volumes.label.is_contiguous()
    assert moved.volumes.features is None
    assert moved.pictures.label is None


def test_every_tensor_of_a_batch_reaches_the_device():
    pictures = ImageBatch(torch.rand(2, 3, 4, 4), torch.tensor([0, 1]), ("c.jpg", "d.jpg"))
    moved = on_device(pictures, torch.device("meta"))
    assert moved.image.is_meta
    assert moved.label.is_meta
