"""Points learn from the pixels that show them, and from no others."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dimlift.data.rgbd.frames import read_frame
from dimlift.data.rgbd.recordings import find_frames
from dimlift.data.sampling.rgbd_pair_sampler import PairSampler, seen_points
from dimlift.errors import RunError
from dimlift.geometry.cameras import Camera
from dimlift.losses.contrast import group_means, info_nce
from dimlift.methods.points.frame_distillation import FrameDistillation
from dimlift.methods.points.ppkt import PPKT
from dimlift.methods.teachers.feature_maps import TeacherMaps, fitting, read_pairs
from dimlift.methods.teachers.teacher import wrap_teacher
from dimlift.models.point_sparse_unet import point_unet

sys.path.insert(0, str(Path(__file__).parents[1]))
from small_frames import write_recording


class Cells(nn.Module):
    """A 2D network of one convolution, with the questions a teacher is asked."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.convolution = nn.Conv2d(3, 6, 8, stride=8)
        self.patch_embed = nn.Identity()
        self.patch_embed.patch_size = (8, 8)

    def forward_intermediates(self, pictures, **_):
        return [self.convolution(pictures)]


@pytest.fixture
def maps():
    return TeacherMaps(wrap_teacher(Cells()))


@pytest.fixture
def sampler(tmp_path):
    return PairSampler(find_frames(write_recording(tmp_path / "room")), stride=2, pairs=40, seed=1)


@pytest.fixture
def method(maps):
    torch.manual_seed(0)
    return PPKT(point_unet(3, None, 18, 0.1, 0.1), maps, dimensions=8)


def test_info_nce_is_the_formula():
    queries, keys = torch.randn(5, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    expected = 0.0
    for i in range(5):
        scores = [float(torch.dot(queries[i] / queries[i].norm(), keys[j] / keys[j].norm())) / 0.04 for j in range(5)]
        expected -= (scores[i] - np.log(np.sum(np.exp(scores)))) / 5
    assert float(info_nce(queries, keys, 0.04)) == pytest.approx(expected, rel=1e-4)


def test_group_means_are_means_of_groups():
    values = torch.tensor([[1.0], [3.0], [10.0]])
    assert group_means(values, torch.tensor([7, 7, 2])).tolist() == [[10.0], [2.0]]


def test_the_teacher_learns_nothing_and_hears_nothing(method, sampler):
    network = method.maps.teacher.frozen.network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    method.train()
    handed = {id(p) for group in method.parameter_groups(1e-2) for p in group["params"]}
    assert handed == {id(p) for p in method.parameters()}
    assert not handed & {id(p) for p in network.parameters()}
    optimiser = torch.optim.SGD(method.parameter_groups(1e-2))
    method.loss(sampler.batch(0, 2)).backward()
    assert all(p.grad is not None for p in method.parameters())
    assert all(p.grad is None for p in network.parameters())
    optimiser.step()
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not any(name.startswith("maps") for name in method.state_dict())


def test_pairs_are_as_many_as_there_are_and_no_more(tmp_path):
    frames = find_frames(write_recording(tmp_path / "room"))
    few = PairSampler(frames, stride=2, pairs=40).batch(0, 1)
    assert len(few.pair_points) == 40
    assert len(few.pair_points.unique()) == 40
    many = PairSampler(frames, stride=8, pairs=4096).batch(0, 1)
    assert 2 <= len(many.pair_points) == 24  # every eighth row and column of 32 x 48


def test_a_batch_is_a_function_of_seed_and_step(sampler):
    one, other = sampler.batch(3, 2), sampler.batch(3, 2)
    assert all(torch.equal(a, b) for a, b in zip(one[:6], other[:6], strict=True))
    assert not torch.equal(one.points, sampler.batch(4, 2).points)


def test_a_point_behind_another_surface_is_paired_with_no_pixel(tmp_path):
    """The colour camera sits 30 cm to the right: the box hides wall from it that the depth camera measured."""
    frame = read_frame(find_frames(write_recording(tmp_path / "room", frames=1))[0])
    pose = torch.eye(4, dtype=torch.float64)
    pose[0, 3] = 0.3
    beside = Camera(frame.colour_camera.intrinsics, pose, frame.colour_camera.size)
    seen = seen_points(type(frame)(frame.name, frame.picture, frame.depth, beside, frame.depth_camera))
    shown = torch.zeros(len(seen.points), dtype=torch.bool)
    shown[seen.shown] = True
    x, y, z = seen.points.unbind(1)
    # the line from (0.3, 0, 0) to a wall point passes the box at 1 m
    at_box = 0.3 + (x - 0.3) / 2
    hidden = (z > 1.5) & (at_box.abs() < 0.15) & ((y / 2).abs() < 0.15)
    assert hidden.sum() > 20
    assert not shown[hidden].any()
    beside_it = (z > 1.5) & (at_box > 0.25) & (at_box < 0.5) & (y.abs() < 0.3)
    assert shown[beside_it].all()


def test_a_pair_reads_the_colour_of_its_pixel(sampler):
    for segment in (False, True):
        sampler.mirror = segment  # mirrored or not, place and colour stay together
        batch = sampler.batch(5, 2)
        found = read_pairs(batch.image, batch.pair_places, batch.frame[batch.pair_points])
        assert torch.allclose(found, batch.colours[batch.pair_points], atol=0.02)


def test_reading_at_pairs_is_reading_the_enlarged_map():
    maps = torch.randn(1, 5, 3, 4)
    rows, columns = torch.randint(0, 24, (30,)), torch.randint(0, 32, (30,))
    places = torch.stack([(columns + 0.5) / 32 * 2 - 1, (rows + 0.5) / 24 * 2 - 1], 1)
    enlarged = F.interpolate(maps, (24, 32), mode="bilinear", align_corners=False)
    found = read_pairs(maps, places, torch.zeros(30, dtype=torch.long))
    assert torch.allclose(found, enlarged[0, :, rows, columns].T, atol=1e-5)


def test_a_map_is_computed_once_and_found_by_weights_and_picture(tmp_path, maps):
    kept = TeacherMaps(maps.teacher, tmp_path)
    pictures = torch.rand(2, 3, 16, 24)
    first = kept(pictures)
    assert torch.allclose(first, maps(pictures), atol=1e-2)
    assert torch.equal(kept(pictures), first)
    assert (kept.misses, kept.hits) == (2, 2)
    kept(pictures + 0.01)
    assert kept.misses == 4
    other = Cells()
    nn.init.zeros_(other.convolution.weight)
    assert not torch.allclose(TeacherMaps(wrap_teacher(other), tmp_path)(pictures), first)
    (path, *_) = sorted(tmp_path.glob("*.safetensors"))
    path.write_bytes(b"damaged")
    assert torch.equal(kept(pictures), first)


def test_pictures_of_any_size_are_covered_whole(maps):
    assert fitting(torch.rand(1, 3, 30, 45), maps.teacher).shape[2:] == (32, 48)
    assert maps(torch.rand(1, 3, 30, 45)).shape[2:] == (4, 6)
    assert TeacherMaps(maps.teacher, enlarge=2)(torch.rand(1, 3, 32, 48)).shape[2:] == (8, 12)


def test_learning_makes_points_find_their_pixels(method, sampler):
    optimiser = torch.optim.AdamW(method.parameters(), 3e-3)
    held_out = sampler.batch(999, 2)
    before = method.eval().loss(held_out).item()
    for step in range(40):
        optimiser.zero_grad()
        method.train().loss(sampler.batch(step, 2)).backward()
        optimiser.step()
    assert method.loss(held_out).item() < before - 0.5


def test_superpixels_are_compared_by_their_means(tmp_path, method):
    frames = find_frames(write_recording(tmp_path / "room"))
    batch = PairSampler(frames, stride=1, pairs=600, segments=6, seed=0).batch(0, 2)
    groups = len(batch.pair_segments.unique())
    assert 4 < groups <= 30
    method.eval()
    points, pixels = method(batch)[batch.pair_points], method.pixels(batch)
    means = [group_means(each, batch.pair_segments) for each in (points, pixels)]
    assert method.loss(batch).item() == pytest.approx(float(info_nce(*means, 0.04)), rel=1e-4)
    # no segment reaches over two pictures
    picture = batch.frame[batch.pair_points]
    assert all(len(picture[batch.pair_segments == s].unique()) == 1 for s in batch.pair_segments.unique())


@pytest.mark.parametrize("kind", ["pixels", "frames", "frame_contrast"])
def test_a_baseline_vanishes_when_it_foresees_the_features(kind, maps, sampler):
    torch.manual_seed(0)
    baseline = FrameDistillation(point_unet(3, None, 18, 0.1, 0.1), maps, kind)
    batch = sampler.batch(0, 2)
    loss = baseline.loss(batch)
    loss.backward()
    assert all(p.grad is not None for p in baseline.parameters())
    perfect = torch.zeros(len(batch.points), maps.channels)
    if kind == "pixels":
        perfect[batch.pair_points] = read_pairs(maps(batch.image), batch.pair_places, batch.frame[batch.pair_points])
    else:
        perfect = maps(batch.image).mean((2, 3))[batch.frame]
    baseline.forward = lambda _: perfect
    assert float(baseline.loss(batch)) < (1e-5 if kind != "frame_contrast" else float(loss))


def test_classes_of_a_frame_are_matched_by_the_kl_to_the_teachers_head(sampler):
    torch.manual_seed(0)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5))
    teacher = wrap_teacher(head)
    baseline = FrameDistillation(point_unet(3, None, 18, 0.1, 0.1), TeacherMaps(teacher), "frame_classes")
    batch = sampler.batch(0, 2)
    baseline.loss(batch).backward()
    assert all(p.grad is not None for p in baseline.parameters())
    assert all(p.grad is None for p in head.parameters())
    answers = torch.randn(len(batch.points), 5)
    baseline.forward = lambda _: answers
    student = torch.stack([answers[batch.frame == frame].mean(0) for frame in range(2)]).log_softmax(1)
    wanted = teacher.logits(fitting(batch.image, teacher)).softmax(1)
    expected = (wanted * (wanted.log() - student)).sum(1).mean()
    torch.testing.assert_close(baseline.loss(batch), expected)


def test_one_pair_is_nothing_to_contrast(method, sampler):
    batch = sampler.batch(0, 1)
    with pytest.raises(RunError, match="two or more"):
        method.loss(batch._replace(pair_points=batch.pair_points[:1], pair_places=batch.pair_places[:1]))
