"""PlaneCycle: a folded block is the 2D block in another plane and depends on that plane only."""

import pytest
import torch

import dimlift
from dimlift import DepthPlan
from dimlift.errors import LiftError, PlanError
from dimlift.lifting.fold import Fold, current_fold, fold_context
from lifting.families import build
from lifting.test_attention_laws import OTHERS, PLAIN

BY_NAME = {family.name: family for family in [*PLAIN, *OTHERS]}
PLAN = DepthPlan(kernel=1, attention="planecycle")


def blocks_of(name):
    network = build(BY_NAME[name], torch.float64)
    lifted = dimlift.lift(network, PLAN, certify=False)
    return network.model.blocks, lifted.network.model.blocks, lifted


@pytest.mark.parametrize("index", range(4))
def test_folded_block_depends_on_its_plane_only(index):
    _, blocks, _ = blocks_of("vit_small_patch14_reg4_dinov2")
    batch, depth, height, width, prefix, channels = 2, 3, 4, 5, 5, 48
    x = torch.randn(batch * depth, prefix + height * width, channels, dtype=torch.float64)
    moved = x.clone()
    z, row, column = 1, 2, 3
    moved[z, prefix + row * width + column] += torch.randn(channels, dtype=torch.float64)
    with torch.no_grad(), fold_context(Fold(batch, depth, batch * depth, grid=(height, width))):
        change = (blocks[index](x) - blocks[index](moved)).abs().amax(-1) > 1e-12
    found = change[:, prefix:].unflatten(0, (batch, depth)).unflatten(2, (height, width))
    expected = torch.zeros_like(found)
    plane = {0: (0, z), 1: (0, slice(None), row), 2: (0, slice(None), slice(None), column), 3: (0, z)}[index]
    expected[plane] = True
    assert torch.equal(found, expected)
    assert change[:, :prefix].unflatten(0, (batch, depth))[0].any()


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "beit_base_patch16_224", "vit_small_patch16_dinov3"])
@pytest.mark.parametrize("index", [1, 2])
def test_folded_block_equals_2d_block_on_transposed_cube(name, index):
    flat, deep, lifted = blocks_of(name)
    side = 2
    prefix = lifted.network.model.num_prefix_tokens
    patches = torch.randn(side, side, side, 48, dtype=torch.float64)
    globals_ = torch.randn(1, prefix, 48, dtype=torch.float64).expand(side, -1, -1)
    rope = {}
    if getattr(lifted.network.model, "rope", None) is not None:
        rope = {"rope": lifted.network.model.rope.get_embed(shape=(side, side)).double()}
    x = torch.cat([globals_, patches.flatten(1, 2)], 1)
    y = torch.cat([globals_, patches.movedim(index, 0).flatten(1, 2)], 1)
    with torch.no_grad(), fold_context(Fold(1, side, side, grid=(side, side))):
        output = deep[index](x, **rope)
        expected = flat[index](y, **rope)
    torch.testing.assert_close(
        output[:, prefix:].unflatten(1, (side, side)), expected[:, prefix:].unflatten(1, (side, side)).movedim(0, index)
    )
    torch.testing.assert_close(output[:, :prefix], expected[:, :prefix])


def test_rotary_positions_match_size_of_plane():
    _, deep, lifted = blocks_of("vit_small_patch16_dinov3")
    rope = lifted.network.model.rope
    depth, height, width, prefix = 5, 2, 3, lifted.network.model.num_prefix_tokens
    block = deep[1]
    plane_fold = block.plane_fold
    given = []
    block.attn.register_forward_pre_hook(lambda m, a, k: given.append(k["rope"]), with_kwargs=True)
    x = torch.randn(depth, prefix + height * width, 48, dtype=torch.float64)
    of_slice = rope.get_embed(shape=(height, width)).double()
    assert plane_fold.rope is rope
    with torch.no_grad(), fold_context(Fold(1, depth, depth, grid=(height, width))):
        block(x, rope=of_slice)
        torch.testing.assert_close(given[0], rope.get_embed(shape=(depth, width)).double())
        block.plane_fold = type(plane_fold)(plane_fold.axis, None)  # as for positions bound to the grid of a slice
        block(x, rope=of_slice)
    nearest = of_slice.view(height, width, -1)[[0, 0, 1, 1, 1]].flatten(0, 1)
    torch.testing.assert_close(given[1], nearest)


def test_folded_block_sets_depth_to_number_of_planes():
    _, blocks, _ = blocks_of("vit_tiny_patch16_224")
    found = []
    blocks[1].attn.register_forward_pre_hook(lambda *a: found.append(current_fold().depth))
    with torch.no_grad(), fold_context(Fold(1, 2, 2, grid=(3, 4))):
        blocks[1](torch.randn(2, 13, 48, dtype=torch.float64))
        assert (found, current_fold().depth) == ([3], 2)


def test_certificate_names_plane_of_each_block():
    lifted = dimlift.lift(build(BY_NAME["vit_tiny_patch16_224"], torch.float64), PLAN)
    assert [(layer.name, layer.description) for layer in lifted.certificate.layers] == [
        ("model.blocks.1", "block folded along height, over planes of depth x width"),
        ("model.blocks.2", "block folded along width, over planes of depth x height"),
    ]
    with pytest.raises(LiftError, match="planes other than the slice"):
        dimlift.flatten(lifted)


@pytest.mark.parametrize(
    ("name", "why"), [("swin_tiny_patch4_window7_224", "2 of them, stage by stage"), ("pvt_v2_b0", "stage by stage")]
)
def test_planecycle_rejects_network_without_single_stack(name, why):
    network = build(BY_NAME[name], torch.float64)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    with pytest.raises(PlanError, match=f"one stack on one patch grid.*{why}"):
        dimlift.lift(network, PLAN)
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


def test_planecycle_combines_with_depth_pooling():
    lifted = dimlift.lift(
        build(BY_NAME["vit_tiny_patch16_224"], torch.float64),
        DepthPlan(kernel=2, inflation="average", stride="kernel", attention="planecycle", depth_pool=(1, 2)),
        certify=False,
    )
    assert [m.shape[2] for m in lifted(torch.randn(1, 3, 7, 32, 32, dtype=torch.float64))] == [4, 2, 2]
