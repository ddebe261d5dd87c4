"""The transformer behind voxel tokens is the 2D network: on a repeated slice it says what that says."""

import copy

import pytest
import torch
from torch import nn

from dimlift.backbones.open_network import open_network
from dimlift.errors import CannotLift
from dimlift.models.voxel_transformer import VoxelTransformer
from dimlift.tokenizers.voxels import CubeTokens, GroupTokens, ProjectedTokens


def _vit(name: str = "timm:test_vit", size: int = 64):
    torch.manual_seed(0)
    network = open_network(name, image_size=size)[0].eval()
    for parameter in network.parameters():  # no zeros: class tokens, positions and biases must count
        parameter.data += 0.05 * torch.randn_like(parameter)
    return network


def _projected(network, channels: int = 1, depth: int = 4):
    patch = network.patch_embed.proj
    cubes = CubeTokens(patch.out_channels, (depth, *patch.kernel_size), channels)
    cubes.inherit(patch.weight, patch.bias)
    return ProjectedTokens(cubes)


@pytest.mark.parametrize("name", ["timm:test_vit", "timm:test_vit2", "timm:test_vit3"])
def test_a_repeated_slice_gets_the_2d_networks_answer(name):
    """Heads, norms, class and register tokens and positions are the network's own; nothing is drawn anew."""
    network = _vit(name)
    before = copy.deepcopy(network.state_dict())
    model = VoxelTransformer(_projected(network), network, 10).eval()
    picture = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        wanted = network.forward_head(network.forward_features(picture.expand(-1, 3, -1, -1)), pre_logits=True)
        features = model.features(model.tokenizer(picture[:, :, None].expand(-1, -1, 7, -1, -1)))
        found = model.encoder.forward_head(features, pre_logits=True)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
    assert model.heads == network.blocks[0].attn.num_heads
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_depth_positions_start_at_zero_and_tell_slabs_apart_once_learnt():
    network = _vit()
    patch = network.patch_embed.proj
    cubes = CubeTokens(patch.out_channels, (4, 16, 16))
    cubes.inherit(patch.weight, patch.bias)
    model = VoxelTransformer(cubes, network, 3).eval()
    volume = torch.randn(1, 1, 8, 64, 64)
    turned = torch.cat([volume[:, :, 4:], volume[:, :, :4]], dim=2)
    with torch.no_grad():
        torch.testing.assert_close(model(volume), model(turned), rtol=1e-3, atol=1e-4)
        model.depth_position.normal_()
        assert (model(volume) - model(turned)).abs().max() > 1e-3


@pytest.mark.parametrize("recompute", [False, True])
def test_every_weight_learns_on_any_size(recompute):
    network = _vit()
    model = VoxelTransformer(_projected(network, channels=2), network, 3, gradient_checkpointing=recompute).train()
    answer = model(torch.randn(2, 2, 9, 40, 70))
    assert answer.shape == (2, 3)
    answer.square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("kind", [ProjectedTokens, GroupTokens])
def test_bfloat16_answers_nearly_the_same(kind):
    network = _vit()
    model = VoxelTransformer(kind(CubeTokens(64, (4, 16, 16))), network, 3).eval()
    volume = torch.randn(2, 1, 9, 40, 70)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        half = model(volume)
    torch.testing.assert_close(half.float(), model(volume), rtol=0, atol=0.1)


def test_other_networks_are_refused():
    with pytest.raises(CannotLift, match="plain vision transformer"):
        VoxelTransformer(CubeTokens(8, (4, 4, 4)), nn.Conv2d(3, 8, 3), 2)
    with pytest.raises(CannotLift, match="tokens of 64 numbers, the tokenizer's have 8"):
        VoxelTransformer(CubeTokens(8, (4, 16, 16)), _vit(), 2)
    rotary = _vit()
    rotary.pos_embed = None
    with pytest.raises(CannotLift, match="no table of positions"):
        VoxelTransformer(CubeTokens(64, (4, 16, 16)), rotary, 2)
