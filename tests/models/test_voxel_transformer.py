"""Vision transformer on voxel tokens."""

import copy

import pytest
import torch
from torch import nn

from dimlift.backbones.factory import create_backbone
from dimlift.errors import LiftError
from dimlift.models.voxel_transformer import VoxelTransformer
from dimlift.tokenizers.voxels import CubeTokenizer, GroupTokenizer, ProjectionTokenizer


def _vit(name: str = "timm:test_vit", size: int = 64):
    torch.manual_seed(0)
    network = create_backbone(name, image_size=size)[0].eval()
    for parameter in network.parameters():  # no zeros: class tokens, positions and biases must have an effect
        parameter.data += 0.05 * torch.randn_like(parameter)
    return network


def _projected(network, channels: int = 1, depth: int = 4):
    patch = network.patch_embed.proj
    cubes = CubeTokenizer(patch.out_channels, (depth, *patch.kernel_size), channels)
    cubes.init_from_2d(patch.weight, patch.bias)
    return ProjectionTokenizer(cubes)


@pytest.mark.parametrize("name", ["timm:test_vit", "timm:test_vit2", "timm:test_vit3"])
def test_voxel_transformer_matches_the_2d_network_on_a_repeated_slice(name):
    """Heads, norms, class and register tokens and positions are the network's own."""
    network = _vit(name)
    before = copy.deepcopy(network.state_dict())
    model = VoxelTransformer(_projected(network), network, 10).eval()
    image = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        expected = network.forward_head(network.forward_features(image.expand(-1, 3, -1, -1)), pre_logits=True)
        features = model.features(model.tokenizer(image[:, :, None].expand(-1, -1, 7, -1, -1)))
        output = model.encoder.forward_head(features, pre_logits=True)
    torch.testing.assert_close(output, expected, rtol=1e-3, atol=1e-4)
    assert model.heads == network.blocks[0].attn.num_heads
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_voxel_transformer_depth_positions_are_zero_initialised():
    network = _vit()
    patch = network.patch_embed.proj
    cubes = CubeTokenizer(patch.out_channels, (4, 16, 16))
    cubes.init_from_2d(patch.weight, patch.bias)
    model = VoxelTransformer(cubes, network, 3).eval()
    volume = torch.randn(1, 1, 8, 64, 64)
    reordered = torch.cat([volume[:, :, 4:], volume[:, :, :4]], dim=2)
    with torch.no_grad():
        torch.testing.assert_close(model(volume), model(reordered), rtol=1e-3, atol=1e-4)
        model.depth_position.normal_()
        assert (model(volume) - model(reordered)).abs().max() > 1e-3


@pytest.mark.parametrize("recompute", [False, True])
def test_voxel_transformer_trains_all_parameters_at_any_size(recompute):
    network = _vit()
    model = VoxelTransformer(_projected(network, channels=2), network, 3, gradient_checkpointing=recompute).train()
    logits = model(torch.randn(2, 2, 9, 40, 70))
    assert logits.shape == (2, 3)
    logits.square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("kind", [ProjectionTokenizer, GroupTokenizer])
def test_voxel_transformer_supports_bfloat16(kind):
    network = _vit()
    model = VoxelTransformer(kind(CubeTokenizer(64, (4, 16, 16))), network, 3).eval()
    volume = torch.randn(2, 1, 9, 40, 70)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        half = model(volume)
    torch.testing.assert_close(half.float(), model(volume), rtol=0, atol=0.1)


def test_voxel_transformer_rejects_other_networks():
    with pytest.raises(LiftError, match="plain timm vision transformer"):
        VoxelTransformer(CubeTokenizer(8, (4, 4, 4)), nn.Conv2d(3, 8, 3), 2)
    with pytest.raises(LiftError, match="tokens of width 64, the tokenizer of width 8"):
        VoxelTransformer(CubeTokenizer(8, (4, 16, 16)), _vit(), 2)
    rotary = _vit()
    rotary.pos_embed = None
    with pytest.raises(LiftError, match="no learnt position embeddings"):
        VoxelTransformer(CubeTokenizer(64, (4, 16, 16)), rotary, 2)
