"""PPKT and its baselines."""

import pytest
import torch
from torch import nn

from dimlift.data.rgbd.recordings import find_frames
from dimlift.data.sampling.rgbd_pair_sampler import PixelPointPairSampler
from dimlift.errors import RunError
from dimlift.losses.contrast import group_means, info_nce
from dimlift.methods.ppkt.frame_distillation import FrameDistillation
from dimlift.methods.ppkt.method import PPKT
from dimlift.methods.teachers.feature_maps import CachedFeatureMaps, resize_to_patches, sample_pairs
from dimlift.methods.teachers.teacher import wrap_teacher
from dimlift.models.point_sparse_unet import point_sparse_unet
from small_frames import write_recording
from small_teacher import PatchNetwork


@pytest.fixture
def maps():
    return CachedFeatureMaps(wrap_teacher(PatchNetwork()))


@pytest.fixture
def sampler(tmp_path):
    return PixelPointPairSampler(find_frames(write_recording(tmp_path / "room")), stride=2, num_pairs=40, seed=1)


def small_unet():
    torch.manual_seed(0)
    return point_sparse_unet(3, None, 18, 0.1, 0.1)


@pytest.fixture
def method(maps):
    return PPKT(small_unet(), maps, proj_dim=8)


def test_ppkt_step_leaves_the_teacher_unchanged(method, sampler):
    network = method.maps.teacher.frozen.network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    method.train()
    grouped = {id(p) for group in method.param_groups(1e-2) for p in group["params"]}
    assert grouped == {id(p) for p in method.parameters()}
    assert not grouped & {id(p) for p in network.parameters()}
    optimizer = torch.optim.SGD(method.param_groups(1e-2))
    method.loss(sampler.batch(0, 2)).backward()
    assert all(p.grad is not None for p in method.parameters())
    assert all(p.grad is None for p in network.parameters())
    optimizer.step()
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not any(name.startswith("maps") for name in method.state_dict())


def test_ppkt_training_lowers_the_loss_of_held_out_frames(method, sampler):
    optimizer = torch.optim.AdamW(method.parameters(), 3e-3)
    held_out = sampler.batch(999, 2)
    before = method.eval().loss(held_out).item()
    for step in range(40):
        optimizer.zero_grad()
        method.train().loss(sampler.batch(step, 2)).backward()
        optimizer.step()
    assert method.loss(held_out).item() < before - 0.5


def test_ppkt_compares_superpixels_by_their_means(tmp_path, method):
    frames = find_frames(write_recording(tmp_path / "room"))
    batch = PixelPointPairSampler(frames, stride=1, num_pairs=600, num_superpixels=6, seed=0).batch(0, 2)
    assert 4 < len(batch.pair_segments.unique()) <= 30
    method.eval()
    points, pixels = method(batch)[batch.pair_points], method.project_pixels(batch)
    means = [group_means(each, batch.pair_segments) for each in (points, pixels)]
    assert method.loss(batch).item() == pytest.approx(float(info_nce(*means, 0.04)), rel=1e-4)
    image = batch.frame[batch.pair_points]  # no segment extends over two images
    assert all(len(image[batch.pair_segments == s].unique()) == 1 for s in batch.pair_segments.unique())


def test_ppkt_rejects_a_batch_of_one_pair(method, sampler):
    batch = sampler.batch(0, 1)
    with pytest.raises(RunError, match="two or more"):
        method.loss(batch._replace(pair_points=batch.pair_points[:1], pair_uv=batch.pair_uv[:1]))


@pytest.mark.parametrize("objective", ["pixel_distillation", "frame_distillation", "frame_contrast"])
def test_frame_distillation_loss_vanishes_for_perfect_predictions(objective, maps, sampler):
    baseline = FrameDistillation(small_unet(), maps, objective)
    batch = sampler.batch(0, 2)
    loss = baseline.loss(batch)
    loss.backward()
    assert all(p.grad is not None for p in baseline.parameters())
    perfect = torch.zeros(len(batch.points), maps.channels)
    if objective == "pixel_distillation":
        perfect[batch.pair_points] = sample_pairs(maps(batch.image), batch.pair_uv, batch.frame[batch.pair_points])
    else:
        perfect = maps(batch.image).mean((2, 3))[batch.frame]
    baseline.forward = lambda _: perfect
    assert float(baseline.loss(batch)) < (1e-5 if objective != "frame_contrast" else float(loss))


def test_frame_classes_loss_is_the_kl_to_the_teachers_head(sampler):
    torch.manual_seed(0)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5))
    teacher = wrap_teacher(head)
    baseline = FrameDistillation(small_unet(), CachedFeatureMaps(teacher), "frame_classes")
    batch = sampler.batch(0, 2)
    baseline.loss(batch).backward()
    assert all(p.grad is not None for p in baseline.parameters())
    assert all(p.grad is None for p in head.parameters())
    logits = torch.randn(len(batch.points), 5)
    baseline.forward = lambda _: logits
    student = torch.stack([logits[batch.frame == frame].mean(0) for frame in range(2)]).log_softmax(1)
    target = teacher.logits(resize_to_patches(batch.image, teacher)).softmax(1)
    expected = (target * (target.log() - student)).sum(1).mean()
    torch.testing.assert_close(baseline.loss(batch), expected)
