"""Voxel tokenizers."""

import pytest
import torch
import torch.nn.functional as F

from dimlift.errors import ShapeError
from dimlift.inflation.resize_kernel import pi_resize_kernel
from dimlift.tokenizers.voxels import CubeTokenizer, GroupTokenizer, ProjectionTokenizer

PATCH_SIZE = (3, 4, 5)


def _build(kind, in_channels: int = 1, patch_size=PATCH_SIZE, width: int = 8):
    torch.manual_seed(0)
    cubes = CubeTokenizer(width, patch_size, in_channels)
    return cubes if kind is CubeTokenizer else kind(cubes)


@pytest.mark.parametrize("kind", [CubeTokenizer, ProjectionTokenizer, GroupTokenizer])
@pytest.mark.parametrize("size", [(6, 8, 10), (7, 9, 11), (1, 2, 3)])
def test_tokenizer_returns_one_token_per_patch_or_column(kind, size):
    tokens = _build(kind)(torch.randn(2, 1, *size))
    patches = tuple(-(-n // c) for n, c in zip(size, PATCH_SIZE, strict=True))
    assert tokens.grid == (patches if kind is CubeTokenizer else (1, *patches[1:]))
    count = tokens.grid[0] * tokens.grid[1] * tokens.grid[2]
    assert tokens.values.shape == (2, count, 8)
    assert tokens.centres.shape == (2, count, 3)
    assert tokens.centres.min() > 0
    assert tokens.centres.max() < 1
    on_grid = tokens.centres[0].view(*tokens.grid, 3)
    if kind is not CubeTokenizer:
        assert (on_grid[..., 0] == 0.5).all()
    for axis in (0, 1, 2) if kind is CubeTokenizer else (1, 2):
        along = on_grid.movedim(axis, 0)[..., axis].flatten(1)
        for index, found in enumerate(along):
            first, last = index * PATCH_SIZE[axis], min((index + 1) * PATCH_SIZE[axis], size[axis])
            torch.testing.assert_close(found, torch.full_like(found, (first + last) / 2 / size[axis]))


def test_cube_tokenizer_covers_every_voxel_once():
    """Also if the patch size does not divide the volume."""
    cubes = _build(CubeTokenizer)
    volume = torch.randn(1, 1, 7, 9, 11)
    before = cubes(volume)
    for place in ((0, 0, 0), (6, 8, 10), (4, 3, 9)):
        changed = volume.clone()
        changed[(0, 0, *place)] += 1
        moved = (cubes(changed).values - before.values).abs().amax((0, 2)).view(before.grid)
        hit = tuple(p // c for p, c in zip(place, PATCH_SIZE, strict=True))
        assert moved[hit] > 0
        moved[hit] = 0
        assert not moved.any()


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", [CubeTokenizer, ProjectionTokenizer])
def test_init_from_2d_reproduces_2d_tokens_on_a_repeated_slice(kind, channels):
    kernel, bias = torch.randn(8, 3, 4, 5), torch.randn(8)
    image = torch.randn(2, 1, 8, 15)
    expected = F.conv2d(image.expand(-1, 3, -1, -1), kernel, bias, stride=(4, 5)).flatten(2).transpose(1, 2)
    tokenizer = _build(kind, channels)
    getattr(tokenizer, "cubes", tokenizer).init_from_2d(kernel, bias)
    tokens = tokenizer(image[:, :, None].expand(-1, channels, 7, -1, -1))  # 7 is not a multiple of the patch depth
    slabs = tokens.values.unflatten(1, (tokens.grid[0], -1))
    for index in range(tokens.grid[0]):
        torch.testing.assert_close(slabs[:, index], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(8, 8), (7, 10), (4, 5)])
def test_pi_resize_kernel_preserves_the_output_on_resized_patches(size):
    kernel, patch = torch.randn(6, 3, 4, 5), torch.randn(2, 3, 4, 5)
    enlarged = F.interpolate(patch, size, mode="bilinear", align_corners=False)
    expected = torch.einsum("oihw,bihw->bo", kernel, patch)
    torch.testing.assert_close(
        torch.einsum("oihw,bihw->bo", pi_resize_kernel(kernel, size), enlarged), expected, rtol=1e-4, atol=1e-4
    )


def test_group_tokenizer_separates_columns_and_batch_elements():
    """Attention along a wrong axis would mix batch elements."""
    tokenizer = _build(GroupTokenizer).eval()
    volume = torch.randn(3, 1, 6, 8, 10)
    changed = volume.clone()
    changed[1, :, :, 4:, 5:] += 1  # the last of four columns of the second volume
    moved = (tokenizer(changed).values - tokenizer(volume).values).abs().amax(2)
    assert moved[1, 3] > 1e-3
    moved[1, 3] = 0
    assert moved.max() < 1e-6


def test_group_tokenizer_depends_on_depth_order_and_projection_does_not():
    volume = torch.randn(1, 1, 6, 4, 5)
    reordered = torch.cat([volume[:, :, 3:], volume[:, :, :3]], dim=2)
    for kind, same in ((ProjectionTokenizer, True), (GroupTokenizer, False)):
        tokenizer = _build(kind).eval()
        assert torch.allclose(tokenizer(volume).values, tokenizer(reordered).values, atol=1e-6) == same


def test_tokenizers_reject_invalid_arguments():
    with pytest.raises(ShapeError, match="three positive numbers"):
        CubeTokenizer(8, (0, 4, 4))
    with pytest.raises(ShapeError, match="divisible by 3 heads"):
        GroupTokenizer(CubeTokenizer(8, PATCH_SIZE), heads=3)
    with pytest.raises(ShapeError, match="tokens of width 6, the tokenizer of width 8"):
        CubeTokenizer(8, PATCH_SIZE).init_from_2d(torch.randn(6, 3, 4, 4), None)
    with pytest.raises(ShapeError, match=r"expects \(B, 1, D, H, W\)"):
        CubeTokenizer(8, PATCH_SIZE)(torch.zeros(1, 2, 4, 4, 4))
