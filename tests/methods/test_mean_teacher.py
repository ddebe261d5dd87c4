"""Mean teacher."""

import pytest
import torch

from dimlift.batch import IGNORE, PointBatch
from dimlift.data.synthetic.rooms import ROOM_CLASSES, simulate_rooms
from dimlift.errors import RunError
from dimlift.methods.mean_teacher.method import MeanTeacher, most_confident
from dimlift.models.sparse_unet_heads import point_cloud_unet


@pytest.fixture
def method():
    torch.manual_seed(0)
    return MeanTeacher(point_cloud_unet(3, len(ROOM_CLASSES), 18, 0.1, 0.2))


def test_mean_teacher_updates_the_teacher_by_averaging_alone(method):
    grouped = {id(p) for group in method.param_groups(0.1) for p in group["params"]}
    assert grouped == {id(p) for p in method.model.parameters()}
    assert not any(p.requires_grad for p in method.teacher.parameters())
    batch = simulate_rooms(2, 300, num_labelled=20)
    method.train().on_progress(0.0)
    start = {name: value.clone() for name, value in method.teacher.state_dict().items()}
    method.loss(batch).backward()
    assert not method.teacher.training
    assert all(p.grad is None for p in method.teacher.parameters())
    assert all(torch.equal(start[name], value) for name, value in method.teacher.state_dict().items())
    with torch.no_grad():
        for p in method.model.parameters():
            p.add_(1.0)
    method.on_progress(0.5)  # the second step: half of each
    assert torch.allclose(method.teacher.state_dict()["head.weight"], start["head.weight"] + 0.5)
    statistic = "network.stem_norm.running_mean"
    expected = (start[statistic] + method.model.state_dict()[statistic]) / 2
    assert torch.allclose(method.teacher.state_dict()[statistic], expected)


def test_mean_teacher_ramps_up_the_consistency_weight(method):
    weights = []
    for progress in (0.0, 0.03, 0.06, 1.0):
        method.on_progress(progress)
        weights.append(method.weight)
    assert weights == pytest.approx([10 * 2.718281828**-5, 10 * 2.718281828**-1.25, 10, 10])


def test_most_confident_selects_a_fraction_of_each_class():
    probs = torch.tensor([[p, 1 - p] for p in (0.51, 0.6, 0.7, 0.8, 0.99)] + [[0.4, 0.6]] * 3)
    assert most_confident(probs, 0.2).nonzero().flatten().tolist() == [4]  # a fifth of three rounds to none
    assert most_confident(probs, 0.0).sum() == 0


def test_mean_teacher_loss_includes_each_term_and_requires_labels(method):
    batch = simulate_rooms(1, 300, num_labelled=30)
    method.on_progress(1.0)
    method.eval()
    complete = method.loss(batch).item()
    for name in ("entropy_weight", "pseudo_label_fraction"):
        before = getattr(method, name)
        setattr(method, name, 0.0)
        assert method.loss(batch).item() < complete - 1e-3
        setattr(method, name, before)
    with pytest.raises(RunError, match="IGNORE"):
        method.loss(batch._replace(label=None))
    unlabelled = batch._replace(label=torch.full_like(batch.label, IGNORE))
    assert method.loss(unlabelled).item() < complete


def test_mean_teacher_loss_matches_the_equation(method):
    batch = simulate_rooms(1, 300, num_labelled=30)
    method.on_progress(0.03)
    with torch.no_grad():
        for p in method.model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    method.eval()
    student, teacher = (each(batch.points, batch.features).flatten(0, 1) for each in (method.model, method.teacher))
    logs, teacher, label = student.log_softmax(1), teacher.softmax(1), batch.label.flatten()
    labelled, confident = (label != IGNORE).nonzero().flatten(), most_confident(teacher, 0.2).nonzero().flatten()
    supervised = -logs[labelled, label[labelled]].mean()
    consistency = (logs.exp() - teacher).square().mean()
    entropy = -(logs.exp() * logs).sum(1).mean()
    pseudo = -logs[confident, teacher.argmax(1)[confident]].mean()
    assert len(confident) > 0
    assert consistency > 1e-5
    expected = supervised + 10 * torch.tensor(-1.25).exp() * consistency + 0.5 * entropy + pseudo
    torch.testing.assert_close(method.loss(batch), expected)


def test_mean_teacher_learns_rooms_from_few_labels():
    torch.manual_seed(0)
    method = MeanTeacher(point_cloud_unet(3, len(ROOM_CLASSES), 18, 0.2, 0.4), decay=0.9)
    rooms, unseen = simulate_rooms(4, 600, num_labelled=60, seed=1), simulate_rooms(2, 600, seed=2)
    optimizer = torch.optim.AdamW(method.param_groups(5e-3))

    def accuracy(batch: PointBatch) -> float:
        with torch.no_grad():
            return (method(batch.points, batch.features).argmax(-1) == batch.label).float().mean().item()

    for step in range(60):
        method.train().on_progress(step / 60)
        optimizer.zero_grad()
        method.loss(rooms).backward()
        optimizer.step()
    majority = unseen.label.flatten().bincount().max().item() / unseen.label.numel()
    assert accuracy(unseen) > majority + 0.2


def test_simulate_rooms_is_deterministic_and_hides_labels():
    one, other = simulate_rooms(2, 200, num_labelled=9, seed=3), simulate_rooms(2, 200, num_labelled=9, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(one[:2], other[:2], strict=True))
    assert ((one.label != IGNORE).sum(1) == 9).all()
    rooms = simulate_rooms(2, 2000, seed=3)
    assert set(rooms.label.unique().tolist()) == {0, 1, 2, 3}
    assert float(rooms.points[rooms.label == 0][:, 1].abs().max()) == 0.0  # the floor is flat
    assert not torch.equal(rooms.points, simulate_rooms(2, 2000, seed=4).points)
