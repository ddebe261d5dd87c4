"""A U-Net over occupied voxels: every voxel answered, no cloud sees another, everything learns."""

import pytest
import torch

from dimlift.errors import ShapeError
from dimlift.geometry.voxels import voxelise
from dimlift.models.sparse_unet import LEVELS, is_of_encoder, pyramid, sr_unet18, sr_unet34


def cloud(seed, count=200):
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(count, 3, generator=generator)
    found = voxelise(points, 0.25, (torch.arange(count) % 2).long())
    return found, torch.randn(len(found.coordinates), 3, generator=generator)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return sr_unet18(3, 5, share=0.25).eval()


def test_every_voxel_gets_an_answer_and_everything_learns(network):
    voxels, features = cloud(0)
    answer = network(features, pyramid(voxels.coordinates))
    assert answer.shape == (len(features), 5)
    network.zero_grad()
    answer.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    used = [name for name, p in network.named_parameters() if float(p.grad.abs().max()) > 0]
    assert len(used) == len(list(network.parameters()))


def test_clouds_of_a_batch_do_not_see_each_other(network):
    voxels, features = cloud(1)
    mine = voxels.coordinates[:, 0] == 1
    alone = voxels.coordinates[mine] - torch.tensor([1, 0, 0, 0])
    together = network(features, pyramid(voxels.coordinates))[mine]
    assert torch.allclose(together, network(features[mine], pyramid(alone)), atol=1e-5)


def test_moving_by_whole_coarse_voxels_changes_nothing(network):
    voxels, features = cloud(2)
    moved = voxels.coordinates + torch.tensor([0, 16, -32, 48])
    assert torch.allclose(network(features, pyramid(voxels.coordinates)), network(features, pyramid(moved)), atol=1e-5)


def test_rules_of_other_voxels_are_refused(network):
    voxels, features = cloud(3)
    with pytest.raises(ShapeError, match="make both of one"):
        network(features[1:], pyramid(voxels.coordinates))


def test_the_published_sizes():
    count = {build.__name__: sum(p.numel() for p in build(3, 20).parameters()) for build in (sr_unet18, sr_unet34)}
    assert 14e6 < count["sr_unet18"] < 16e6
    assert 36e6 < count["sr_unet34"] < 39e6


def test_the_encoder_is_what_the_coarsest_features_depend_on():
    torch.manual_seed(0)
    coordinates = torch.unique(torch.cat([torch.zeros(40, 1, dtype=torch.int64), torch.randint(16, (40, 3))], 1), dim=0)
    network, coarsest = sr_unet18(3, 2, 0.1).eval(), []
    network.stages[LEVELS - 1][-1].register_forward_hook(lambda module, inputs, answer: coarsest.append(answer))
    network(torch.randn(len(coordinates), 3), pyramid(coordinates))
    coarsest[0].sum().backward()
    assert {n for n, p in network.named_parameters() if p.grad is not None} == {
        n for n, _ in network.named_parameters() if is_of_encoder(n)
    }
