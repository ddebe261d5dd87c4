"""Where tokens are, what they say of a repeated slice, and what they never mix."""

import pytest
import torch
import torch.nn.functional as F

from dimlift.errors import ShapeError
from dimlift.inflation.resize_kernel import resample_kernel
from dimlift.tokenizers.voxels import CubeTokens, GroupTokens, ProjectedTokens

CELL = (3, 4, 5)


def _build(kind, in_channels: int = 1, cell=CELL, width: int = 8):
    torch.manual_seed(0)
    cubes = CubeTokens(width, cell, in_channels)
    return cubes if kind is CubeTokens else kind(cubes)


@pytest.mark.parametrize("kind", [CubeTokens, ProjectedTokens, GroupTokens])
@pytest.mark.parametrize("size", [(6, 8, 10), (7, 9, 11), (1, 2, 3)])
def test_one_token_a_cell_or_a_column_at_its_place(kind, size):
    tokens = _build(kind)(torch.randn(2, 1, *size))
    cells = tuple(-(-n // c) for n, c in zip(size, CELL, strict=True))
    assert tokens.grid == (cells if kind is CubeTokens else (1, *cells[1:]))
    count = tokens.grid[0] * tokens.grid[1] * tokens.grid[2]
    assert tokens.values.shape == (2, count, 8)
    assert tokens.centres.shape == (2, count, 3)
    assert tokens.centres.min() > 0
    assert tokens.centres.max() < 1
    on_grid = tokens.centres[0].view(*tokens.grid, 3)
    if kind is not CubeTokens:
        assert (on_grid[..., 0] == 0.5).all()
    for axis in (0, 1, 2) if kind is CubeTokens else (1, 2):
        along = on_grid.movedim(axis, 0)[..., axis].flatten(1)
        for index, found in enumerate(along):
            first, last = index * CELL[axis], min((index + 1) * CELL[axis], size[axis])
            torch.testing.assert_close(found, torch.full_like(found, (first + last) / 2 / size[axis]))


def test_a_token_has_seen_its_own_cell_and_no_voxel_is_left_out():
    """A grid that does not divide the volume must not lose its last voxels."""
    cubes = _build(CubeTokens)
    volume = torch.randn(1, 1, 7, 9, 11)
    before = cubes(volume)
    for place in ((0, 0, 0), (6, 8, 10), (4, 3, 9)):
        changed = volume.clone()
        changed[(0, 0, *place)] += 1
        moved = (cubes(changed).values - before.values).abs().amax((0, 2)).view(before.grid)
        hit = tuple(p // c for p, c in zip(place, CELL, strict=True))
        assert moved[hit] > 0
        moved[hit] = 0
        assert not moved.any()


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", [CubeTokens, ProjectedTokens])
def test_a_repeated_slice_gets_the_tokens_of_the_2d_network(kind, channels):
    kernel, bias = torch.randn(8, 3, 4, 5), torch.randn(8)
    picture = torch.randn(2, 1, 8, 15)
    wanted = F.conv2d(picture.expand(-1, 3, -1, -1), kernel, bias, stride=(4, 5)).flatten(2).transpose(1, 2)
    tokenizer = _build(kind, channels)
    getattr(tokenizer, "cubes", tokenizer).inherit(kernel, bias)
    tokens = tokenizer(picture[:, :, None].expand(-1, channels, 7, -1, -1))  # 7 is no multiple of the cell
    slabs = tokens.values.unflatten(1, (tokens.grid[0], -1))
    for index in range(tokens.grid[0]):
        torch.testing.assert_close(slabs[:, index], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(8, 8), (7, 10), (4, 5)])
def test_a_resized_kernel_says_to_an_enlarged_patch_what_it_said_to_the_patch(size):
    kernel, patch = torch.randn(6, 3, 4, 5), torch.randn(2, 3, 4, 5)
    enlarged = F.interpolate(patch, size, mode="bilinear", align_corners=False)
    wanted = torch.einsum("oihw,bihw->bo", kernel, patch)
    torch.testing.assert_close(
        torch.einsum("oihw,bihw->bo", resample_kernel(kernel, size), enlarged), wanted, rtol=1e-4, atol=1e-4
    )


def test_group_embedding_reads_columns_of_one_volume_and_nothing_else():
    """Attention along the wrong axis runs across the samples of a batch."""
    tokenizer = _build(GroupTokens).eval()
    volume = torch.randn(3, 1, 6, 8, 10)
    changed = volume.clone()
    changed[1, :, :, 4:, 5:] += 1  # the last of four columns of the second volume
    moved = (tokenizer(changed).values - tokenizer(volume).values).abs().amax(2)
    assert moved[1, 3] > 1e-3
    moved[1, 3] = 0
    assert moved.max() < 1e-6


def test_group_embedding_tells_depths_apart_and_a_mean_does_not():
    volume = torch.randn(1, 1, 6, 4, 5)
    turned = torch.cat([volume[:, :, 3:], volume[:, :, :3]], dim=2)
    for kind, same in ((ProjectedTokens, True), (GroupTokens, False)):
        tokenizer = _build(kind).eval()
        assert torch.allclose(tokenizer(volume).values, tokenizer(turned).values, atol=1e-6) == same


def test_misfits_are_refused():
    with pytest.raises(ShapeError, match="three positive numbers"):
        CubeTokens(8, (0, 4, 4))
    with pytest.raises(ShapeError, match="among 3 heads"):
        GroupTokens(CubeTokens(8, CELL), heads=3)
    with pytest.raises(ShapeError, match="tokens of 6 numbers, these have 8"):
        CubeTokens(8, CELL).inherit(torch.randn(6, 3, 4, 4), None)
    with pytest.raises(ShapeError, match=r"reads \(B, 1, D, H, W\)"):
        CubeTokens(8, CELL)(torch.zeros(1, 2, 4, 4, 4))
