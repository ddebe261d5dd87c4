"""DistInit."""

import pytest
import torch
from torch import nn

from dimlift.batch import VolumeBatch
from dimlift.errors import ConfigError, ShapeError
from dimlift.methods.distinit.method import DistInit, pair_with_slices, slices_to_images
from dimlift.methods.teachers.teacher import wrap_teacher


class Brightness(nn.Module):
    """Logits from the mean of each colour, which differ between slices."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(3, num_classes)

    def forward(self, images):
        return 4 * self.head(images.mean((2, 3)))


def volumes(count=4, depth=5):
    generator = torch.Generator().manual_seed(0)
    names = tuple(f"case {i}" for i in range(count))
    image = torch.randn(count, 1, depth, 12, 12, generator=generator)
    return VolumeBatch(image, torch.full((count, depth, 12, 12), -1), names)


def distinit(*num_classes):
    torch.manual_seed(0)
    student = nn.Sequential(nn.Flatten(), nn.Linear(5 * 144, sum(num_classes)))
    return DistInit(student, [wrap_teacher(Brightness(n)) for n in num_classes], num_classes)


def test_pair_with_slices_depends_on_seed_step_and_index():
    batch = volumes()
    first = pair_with_slices(batch, 8, 1, 3).images
    assert torch.equal(first.image, pair_with_slices(batch, 8, 1, 3).images.image)
    fewer = VolumeBatch(batch.image[:2], batch.label[:2], batch.cases[:2])
    assert pair_with_slices(fewer, 8, 1, 3).images.cases == first.cases[:2]
    assert len({pair_with_slices(batch, 8, 1, step).images.cases for step in range(8)}) > 4
    assert len({pair_with_slices(batch, 8, seed, 3).images.cases for seed in range(8)}) > 4


def test_pair_with_slices_names_the_slice():
    batch = volumes()
    images = pair_with_slices(batch, 12, 0, 0).images
    for index, name in enumerate(images.cases):
        z = int(name.split("[")[1].rstrip("]"))
        expected = slices_to_images(batch.image[index : index + 1, :, z], 12)[0]
        assert torch.equal(images.image[index], expected)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_slices_to_images_scales_any_intensities(channels):
    slices = torch.randn(2, channels, 9, 7)
    images = slices_to_images(1000 * slices - 400, 16)
    assert images.shape == (2, 3, 16, 16)
    assert 0 <= images.min() < images.max() <= 1
    torch.testing.assert_close(images, slices_to_images(slices, 16), atol=1e-3, rtol=0)
    assert bool(torch.isfinite(slices_to_images(torch.zeros(1, channels, 4, 4), 8)).all())


def test_distinit_loss_sums_soft_cross_entropy_over_teachers():
    method, batch = distinit(3, 5), pair_with_slices(volumes(), 12, 0, 0)
    logits = method(batch.volumes.image)
    expected = 0.0
    for teacher, head in zip(method.teachers, (logits[:, :3], logits[:, 3:]), strict=True):
        soft = teacher.logits(batch.images.image).softmax(1)
        expected = expected - (soft * head.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(method.loss(batch), expected)


def test_distinit_excludes_teachers_from_gradients_and_state():
    method = distinit(3, 5)
    method.loss(pair_with_slices(volumes(), 12, 0, 0)).backward()
    frozen = [p for teacher in method.teachers for p in teacher.frozen.network.parameters()]
    assert all(p.grad is None and not p.requires_grad for p in frozen)
    assert set(method.state_dict()) == {"model.1.weight", "model.1.bias"}
    grouped = {id(p) for group in method.param_groups(1.0) for p in group["params"]}
    assert grouped == {id(p) for p in method.model.parameters()}


def test_distinit_student_matches_its_teachers_after_training():
    method = distinit(3, 5)
    optimizer = torch.optim.Adam(method.parameters(), 1e-2)
    batch = pair_with_slices(volumes(), 12, 0, 0)
    first = float(method.loss(batch).detach())
    for _ in range(60):
        optimizer.zero_grad()
        loss = method.loss(batch)
        loss.backward()
        optimizer.step()
    logits = method(batch.volumes.image).split(method.num_classes, dim=1)
    assert float(loss.detach()) < first
    for teacher, head in zip(method.teachers, logits, strict=True):
        torch.testing.assert_close(head.softmax(1), teacher.logits(batch.images.image).softmax(1), atol=0.05, rtol=0)


def test_distinit_rejects_mismatched_classes():
    method = distinit(3, 5)
    batch = pair_with_slices(volumes(), 12, 0, 0)
    with pytest.raises(ShapeError, match=r"3 \+ 4 classes"):
        DistInit(method.model, method.teachers, (3, 4)).loss(batch)
    with pytest.raises(ShapeError, match="same shape"):  # teachers of 3 and 5, heads of 4 and 4
        DistInit(method.model, method.teachers[::-1], (4, 4)).loss(batch)
    with pytest.raises(ConfigError, match="one number for each"):
        DistInit(method.model, method.teachers, (8,))
