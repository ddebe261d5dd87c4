"""Teachers label slices, a student learns from volumes; which slice is drawn is decided by (seed, step, index)."""

import pytest
import torch
from torch import nn

from dimlift.batch import VolumeBatch
from dimlift.errors import ConfigError, ShapeError
from dimlift.methods.distillation.distinit import DistInit, as_pictures, with_drawn_slices
from dimlift.methods.teachers.teacher import wrap_teacher


class Brightness(nn.Module):
    """Answers with the mean of each colour, more or less, so that it knows slices apart."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(3, classes)

    def forward(self, pictures):
        return 4 * self.head(pictures.mean((2, 3)))


def volumes(count=4, depth=5):
    generator = torch.Generator().manual_seed(0)
    names = tuple(f"case {i}" for i in range(count))
    image = torch.randn(count, 1, depth, 12, 12, generator=generator)
    return VolumeBatch(image, torch.full((count, depth, 12, 12), -1), names)


def method_of(*classes):
    torch.manual_seed(0)
    student = nn.Sequential(nn.Flatten(), nn.Linear(5 * 144, sum(classes)))
    return DistInit(student, [wrap_teacher(Brightness(n)) for n in classes], classes)


def test_the_slice_depends_on_seed_step_and_index_alone():
    batch = volumes()
    first = with_drawn_slices(batch, 8, 1, 3).pictures
    assert torch.equal(first.image, with_drawn_slices(batch, 8, 1, 3).pictures.image)
    fewer = VolumeBatch(batch.image[:2], batch.label[:2], batch.cases[:2])
    assert with_drawn_slices(fewer, 8, 1, 3).pictures.cases == first.cases[:2]
    assert len({with_drawn_slices(batch, 8, 1, step).pictures.cases for step in range(8)}) > 4
    assert len({with_drawn_slices(batch, 8, seed, 3).pictures.cases for seed in range(8)}) > 4


def test_the_picture_is_the_slice_its_name_says():
    batch = volumes()
    drawn = with_drawn_slices(batch, 12, 0, 0).pictures
    for index, name in enumerate(drawn.cases):
        z = int(name.split("[")[1].rstrip("]"))
        expected = as_pictures(batch.image[index : index + 1, :, z], 12)[0]
        assert torch.equal(drawn.image[index], expected)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_slices_of_any_scale_become_pictures(channels):
    slices = torch.randn(2, channels, 9, 7)
    found = as_pictures(1000 * slices - 400, 16)
    assert found.shape == (2, 3, 16, 16)
    assert 0 <= found.min() < found.max() <= 1
    torch.testing.assert_close(found, as_pictures(slices, 16), atol=1e-3, rtol=0)
    assert bool(torch.isfinite(as_pictures(torch.zeros(1, channels, 4, 4), 8)).all())


def test_the_loss_is_the_sum_over_teachers_of_soft_label_cross_entropy():
    method, batch = method_of(3, 5), with_drawn_slices(volumes(), 12, 0, 0)
    answer = method(batch.volumes.image)
    expected = 0.0
    for teacher, head in zip(method.teachers, (answer[:, :3], answer[:, 3:]), strict=True):
        soft = teacher.logits(batch.pictures.image).softmax(1)
        expected = expected - (soft * head.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(method.loss(batch), expected)


def test_teachers_get_no_gradient_and_are_saved_nowhere():
    method = method_of(3, 5)
    method.loss(with_drawn_slices(volumes(), 12, 0, 0)).backward()
    frozen = [p for teacher in method.teachers for p in teacher.frozen.network.parameters()]
    assert all(p.grad is None and not p.requires_grad for p in frozen)
    assert set(method.state_dict()) == {"model.1.weight", "model.1.bias"}
    handed = {id(p) for group in method.parameter_groups(1.0) for p in group["params"]}
    assert handed == {id(p) for p in method.model.parameters()}


def test_a_student_learns_what_its_teachers_say():
    method = method_of(3, 5)
    optimiser = torch.optim.Adam(method.parameters(), 1e-2)
    batch = with_drawn_slices(volumes(), 12, 0, 0)
    first = float(method.loss(batch).detach())
    for _ in range(60):
        optimiser.zero_grad()
        loss = method.loss(batch)
        loss.backward()
        optimiser.step()
    answer = method(batch.volumes.image).split(method.classes, dim=1)
    assert float(loss.detach()) < first
    for teacher, head in zip(method.teachers, answer, strict=True):
        torch.testing.assert_close(head.softmax(1), teacher.logits(batch.pictures.image).softmax(1), atol=0.05, rtol=0)


def test_classes_that_differ_are_refused():
    method = method_of(3, 5)
    batch = with_drawn_slices(volumes(), 12, 0, 0)
    with pytest.raises(ShapeError, match=r"3 \+ 4 classes"):
        DistInit(method.model, method.teachers, (3, 4)).loss(batch)
    with pytest.raises(ShapeError, match="5 classes"):  # teachers of 3 and 5, heads of 4 and 4
        DistInit(method.model, method.teachers[::-1], (4, 4)).loss(batch)
    with pytest.raises(ConfigError, match="one for each"):
        DistInit(method.model, method.teachers, (8,))
