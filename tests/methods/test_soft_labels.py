"""Soft labels from pictures, and fine-tuning with few labels beside a teacher of one's own making."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from dimlift.batch import IGNORE, PointBatch
from dimlift.data.rgbd.recordings import find_frames
from dimlift.data.sampling.rgbd_pair_sampler import PairSampler
from dimlift.data.synthetic.rooms import CLASSES, simulated_rooms
from dimlift.errors import RunError
from dimlift.methods.points.mean_teacher import MeanTeacher, most_confident
from dimlift.methods.points.soft_labels import SoftLabels, class_maps, is_semantic, soft_cross_entropy
from dimlift.methods.teachers.feature_maps import TeacherMaps, pair_values
from dimlift.methods.teachers.teacher import open_teacher, wrap_teacher
from dimlift.models.point_sparse_unet import point_unet
from dimlift.models.sparse_unet_heads import cloud_unet

sys.path.insert(0, str(Path(__file__).parents[1]))
from small_frames import write_recording


class Segmenter(nn.Module):
    """A semantic 2D network of one layer."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 5, 1)

    def forward(self, pictures):
        return self.layer(pictures)


def test_soft_cross_entropy_is_the_formula():
    logits, wanted = torch.randn(4, 3), torch.rand(4, 3).softmax(1)
    expected = -sum(
        wanted[i, c] * torch.log(logits[i].exp()[c] / logits[i].exp().sum()) for i in range(4) for c in range(3)
    )
    assert soft_cross_entropy(logits, wanted).item() == pytest.approx(float(expected) / 4, rel=1e-5)


@pytest.mark.parametrize("name", ["packaged:efficientnet_lite0", "timm:test_vit"])
def test_the_head_at_every_cell_averages_to_the_answer_for_the_picture(name):
    """Where the head is linear behind a mean over cells, the mean of its answers is its answer."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = {"dynamic_img_size": True, "global_pool": "avg", "fc_norm": False} if "vit" in name else {}
        teacher = open_teacher(name, **options)
    pictures = torch.rand(1, 3, 64, 96)
    found = class_maps(teacher, pictures)
    assert found.shape[2:] == ((2, 3) if "lite" in name else (4, 6))
    answer = teacher.logits(pictures)
    assert torch.allclose(found.mean((2, 3)), answer, atol=1e-4 * float(answer.abs().max()))
    assert not is_semantic(teacher)


def test_labels_of_a_semantic_network_reach_its_points(tmp_path):
    torch.manual_seed(0)
    maps = TeacherMaps(wrap_teacher(Segmenter()), ask=class_maps)
    assert is_semantic(maps.teacher)
    method = SoftLabels(point_unet(3, maps.channels, 18, 0.1, 0.1), maps)
    batch = PairSampler(find_frames(write_recording(tmp_path)), stride=2, pairs=200).batch(0, 2)
    wanted = pair_values(maps(batch.image), batch).softmax(1)
    expected = soft_cross_entropy(method.eval()(batch)[batch.pair_points], wanted)
    assert method.loss(batch).item() == pytest.approx(expected.item(), rel=1e-5)
    method.train().loss(batch).backward()
    assert all(p.grad is None for p in maps.teacher.frozen.network.parameters())
    assert all(p.grad is not None for p in method.model.parameters())
    assert "semantic" in method.report()["soft_labels"]


@pytest.fixture
def fine_tuning():
    torch.manual_seed(0)
    return MeanTeacher(cloud_unet(3, len(CLASSES), 18, 0.1, 0.2))


def test_the_mean_teacher_is_in_no_optimiser_and_follows_by_averages_alone(fine_tuning):
    handed = {id(p) for group in fine_tuning.parameter_groups(0.1) for p in group["params"]}
    assert handed == {id(p) for p in fine_tuning.model.parameters()}
    assert not any(p.requires_grad for p in fine_tuning.teacher.parameters())
    batch = simulated_rooms(2, 300, labelled=20)
    fine_tuning.train().set_progress(0.0)
    start = {name: value.clone() for name, value in fine_tuning.teacher.state_dict().items()}
    fine_tuning.loss(batch).backward()
    assert not fine_tuning.teacher.training
    assert all(p.grad is None for p in fine_tuning.teacher.parameters())
    assert all(torch.equal(start[name], value) for name, value in fine_tuning.teacher.state_dict().items())
    with torch.no_grad():
        for p in fine_tuning.model.parameters():
            p.add_(1.0)
    fine_tuning.set_progress(0.5)  # the second step: half of each
    name = "head.weight"
    assert torch.allclose(fine_tuning.teacher.state_dict()[name], start[name] + 0.5)
    norm = "network.stem_norm.running_mean"  # statistics are averaged as well
    assert torch.allclose(
        fine_tuning.teacher.state_dict()[norm], (start[norm] + fine_tuning.model.state_dict()[norm]) / 2
    )


def test_consistency_rises_to_its_weight(fine_tuning):
    weights = []
    for progress in (0.0, 0.03, 0.06, 1.0):
        fine_tuning.set_progress(progress)
        weights.append(fine_tuning.weight)
    assert weights == pytest.approx([10 * 2.718281828**-5, 10 * 2.718281828**-1.25, 10, 10])


def test_the_surest_fifth_of_each_predicted_class_is_believed():
    believed = torch.tensor([[p, 1 - p] for p in (0.51, 0.6, 0.7, 0.8, 0.99)] + [[0.4, 0.6]] * 3)
    assert most_confident(believed, 0.2).nonzero().flatten().tolist() == [4]  # a fifth of three is none
    assert most_confident(believed, 0.0).sum() == 0


def test_each_term_counts_and_labels_must_be_there(fine_tuning):
    batch = simulated_rooms(1, 300, labelled=30)
    fine_tuning.set_progress(1.0)
    fine_tuning.eval()
    whole = fine_tuning.loss(batch).item()
    for name in ("entropy", "confident"):
        before = getattr(fine_tuning, name)
        setattr(fine_tuning, name, 0.0)
        assert fine_tuning.loss(batch).item() < whole - 1e-3
        setattr(fine_tuning, name, before)
    with pytest.raises(RunError, match="IGNORE"):
        fine_tuning.loss(batch._replace(label=None))
    nobody = batch._replace(label=torch.full_like(batch.label, IGNORE))
    assert fine_tuning.loss(nobody).item() < whole


def test_the_loss_is_its_four_terms(fine_tuning):
    """Of a student that has left its average behind, as the equation at the head of the method says."""
    batch = simulated_rooms(1, 300, labelled=30)
    fine_tuning.set_progress(0.03)
    with torch.no_grad():
        for p in fine_tuning.model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    fine_tuning.eval()
    student, believed = (
        each(batch.points, batch.features).flatten(0, 1) for each in (fine_tuning.model, fine_tuning.teacher)
    )
    logs, believed, label = student.log_softmax(1), believed.softmax(1), batch.label.flatten()
    told, sure = (label != IGNORE).nonzero().flatten(), most_confident(believed, 0.2).nonzero().flatten()
    labelled = -logs[told, label[told]].mean()
    apart = (logs.exp() - believed).square().mean()
    entropy = -(logs.exp() * logs).sum(1).mean()
    pseudo = -logs[sure, believed.argmax(1)[sure]].mean()
    assert len(sure) > 0
    assert apart > 1e-5
    expected = labelled + 10 * torch.tensor(-1.25).exp() * apart + 0.5 * entropy + pseudo
    torch.testing.assert_close(fine_tuning.loss(batch), expected)


def test_few_labels_teach_a_room():
    torch.manual_seed(0)
    fine_tuning = MeanTeacher(cloud_unet(3, len(CLASSES), 18, 0.2, 0.4), decay=0.9)
    rooms, unseen = simulated_rooms(4, 600, labelled=60, seed=1), simulated_rooms(2, 600, seed=2)
    optimiser = torch.optim.AdamW(fine_tuning.parameter_groups(5e-3))

    def right(batch: PointBatch) -> float:
        with torch.no_grad():
            return (fine_tuning(batch.points, batch.features).argmax(-1) == batch.label).float().mean().item()

    for step in range(60):
        fine_tuning.train().set_progress(step / 60)
        optimiser.zero_grad()
        fine_tuning.loss(rooms).backward()
        optimiser.step()
    most = unseen.label.flatten().bincount().max().item() / unseen.label.numel()
    assert right(unseen) > most + 0.2


def test_rooms_are_drawn_by_their_seed_and_hide_what_they_should():
    one, other = simulated_rooms(2, 200, labelled=9, seed=3), simulated_rooms(2, 200, labelled=9, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(one[:2], other[:2], strict=True))
    assert ((one.label != IGNORE).sum(1) == 9).all()
    whole = simulated_rooms(2, 2000, seed=3)
    assert set(whole.label.unique().tolist()) == {0, 1, 2, 3}
    assert float(whole.points[whole.label == 0][:, 1].abs().max()) == 0.0  # the floor is flat
    assert not torch.equal(whole.points, simulated_rooms(2, 2000, seed=4).points)
