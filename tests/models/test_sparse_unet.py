"""Sparse U-Net."""

import pytest
import torch

from dimlift.errors import ShapeError
from dimlift.geometry.voxels import voxelise
from dimlift.models.sparse_unet import LEVELS, build_pyramid, is_encoder_weight, sr_unet18, sr_unet34


def random_voxels(seed, count=200):
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(count, 3, generator=generator)
    voxels = voxelise(points, 0.25, (torch.arange(count) % 2).long())
    return voxels, torch.randn(len(voxels.coordinates), 3, generator=generator)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return sr_unet18(3, 5, width_multiplier=0.25).eval()


def test_sparse_unet_trains_all_parameters(network):
    voxels, features = random_voxels(0)
    output = network(features, build_pyramid(voxels.coordinates))
    assert output.shape == (len(features), 5)
    network.zero_grad()
    output.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    used = [name for name, p in network.named_parameters() if float(p.grad.abs().max()) > 0]
    assert len(used) == len(list(network.parameters()))


def test_sparse_unet_separates_batch_elements(network):
    voxels, features = random_voxels(1)
    mine = voxels.coordinates[:, 0] == 1
    alone = voxels.coordinates[mine] - torch.tensor([1, 0, 0, 0])
    together = network(features, build_pyramid(voxels.coordinates))[mine]
    assert torch.allclose(together, network(features[mine], build_pyramid(alone)), atol=1e-5)


def test_sparse_unet_is_equivariant_to_coarse_translations(network):
    voxels, features = random_voxels(2)
    moved = voxels.coordinates + torch.tensor([0, 16, -32, 48])
    assert torch.allclose(
        network(features, build_pyramid(voxels.coordinates)), network(features, build_pyramid(moved)), atol=1e-5
    )


def test_sparse_unet_rejects_a_pyramid_of_other_voxels(network):
    voxels, features = random_voxels(3)
    with pytest.raises(ShapeError, match="pass one each"):
        network(features[1:], build_pyramid(voxels.coordinates))


def test_sparse_unet_has_the_published_sizes():
    count = {build.__name__: sum(p.numel() for p in build(3, 20).parameters()) for build in (sr_unet18, sr_unet34)}
    assert 14e6 < count["sr_unet18"] < 16e6
    assert 36e6 < count["sr_unet34"] < 39e6


def test_is_encoder_weight_selects_what_the_coarsest_features_depend_on():
    torch.manual_seed(0)
    coordinates = torch.unique(torch.cat([torch.zeros(40, 1, dtype=torch.int64), torch.randint(16, (40, 3))], 1), dim=0)
    network, coarsest = sr_unet18(3, 2, 0.1).eval(), []
    network.stages[LEVELS - 1][-1].register_forward_hook(lambda module, inputs, output: coarsest.append(output))
    network(torch.randn(len(coordinates), 3), build_pyramid(coordinates))
    coarsest[0].sum().backward()
    assert {n for n, p in network.named_parameters() if p.grad is not None} == {
        n for n, _ in network.named_parameters() if is_encoder_weight(n)
    }
