"""Each way of talking, on its own: attention, tubelets, reduction, heads, factorised kernels, positions, input."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import dimlift
from dimlift import DepthPlan
from dimlift.errors import CannotLift, PlanError
from dimlift.lifting.fold import Fold, folded_as
from dimlift.lifting.layers.attention.sdpa import attend_across_slices, runs_of_slices
from dimlift.lifting.layers.conv import TalkingConvolution
from dimlift.lifting.layers.depth_pool import average_slices
from lifting.families import FAMILIES, answers, build, images, scramble

BY_NAME = {family.name: family for family in FAMILIES}


def network(name, dtype=torch.float64):
    return build(BY_NAME[name], dtype)


@pytest.mark.parametrize("depth", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("turn", [0, 1])
@pytest.mark.parametrize("window", [1, 2, 3, 4, "joint"])
def test_windows_cover_every_slice_once(depth, turn, window):
    covered = [s for first, n, size in runs_of_slices(depth, window, turn) for s in range(first, first + n * size)]
    assert covered == list(range(depth))
    assert all(window == "joint" or size <= window for _, _, size in runs_of_slices(depth, window, turn))


def test_windows_of_the_next_layer_bridge_the_cuts():
    cuts = [{first + i * size for first, n, size in runs_of_slices(8, 4, turn) for i in range(n)} for turn in (0, 1)]
    assert cuts == [{0, 4}, {0, 2, 6}]


@pytest.mark.parametrize("window", ["joint", 2])
@pytest.mark.parametrize("masked", ["none", "shared", "own"])
def test_attention_across_slices_is_attention_over_the_tokens_of_the_window(window, masked):
    batch, depth, extra, heads, tokens, width = 2, 4, 3, 2, 5, 8
    q, k, v = (torch.randn(batch * depth * extra, heads, tokens, width, dtype=torch.float64) for _ in range(3))
    shape = {"shared": (heads, tokens, tokens), "own": (batch * depth * extra, 1, tokens, tokens)}.get(masked)
    mask = None if shape is None else torch.randn(shape, dtype=torch.float64)
    fold = Fold(batch, depth, batch * depth)
    with folded_as(fold):
        got = attend_across_slices(F.scaled_dot_product_attention, fold, window, q, k, v, attn_mask=mask)
    size = depth if window == "joint" else window
    for b in range(batch):
        for e in range(extra):
            for first in range(0, depth, size):
                rows = [(b * depth + d) * extra + e for d in range(first, first + size)]
                joined = [torch.cat([t[r] for r in rows], 1)[None] for t in (q, k, v)]
                if mask is None:
                    big = None
                elif masked == "shared":
                    big = mask.repeat(1, size, size)
                else:
                    big = torch.cat([mask[r].repeat(1, 1, size) for r in rows], 1)
                want = F.scaled_dot_product_attention(*joined, attn_mask=big)[0].unflatten(1, (size, tokens))
                for i, r in enumerate(rows):
                    torch.testing.assert_close(got[r], want[:, i])


@pytest.mark.parametrize("attention", ["joint", 2])
def test_attention_lets_a_slice_hear_of_another(attention):
    lifted = dimlift.lift(network("vit_tiny_patch16_224"), DepthPlan(kernel=1, attention=attention))
    volume = images(BY_NAME["vit_tiny_patch16_224"], 4, 3, torch.float64).transpose(0, 1)[None]
    changed = volume.clone()
    changed[:, :, 1] += 1
    a, b = answers(lifted, volume)[-1], answers(lifted, changed)[-1]
    assert (a[:, :, 0] - b[:, :, 0]).abs().max() > 1e-6
    assert "attention" in str(lifted.certificate)


def test_attention_and_reduction_survive_checkpointing():
    plan = DepthPlan(kernel=3, profile="average", attention=2, reduce=(2,))
    lifted = dimlift.lift(network("vit_tiny_patch16_224"), plan)
    volumes = [torch.randn(shape, dtype=torch.float64) for shape in [(1, 3, 4, 32, 32), (2, 3, 2, 32, 32)]]

    def gradients():
        lifted.zero_grad()
        losses = [lifted(v)[-1].square().mean() for v in volumes]
        for loss in losses:
            loss.backward()
        return [p.grad.clone() for p in lifted.parameters()]

    plain = gradients()
    lifted.set_grad_checkpointing()
    for a, b in zip(plain, gradients(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_depth_position_starts_at_zero_and_tells_slices_apart():
    lifted = dimlift.lift(network("vit_tiny_patch16_224"), DepthPlan(kernel=1, attention="joint"))
    names = [name for name in lifted.weights_report.new if name.endswith("depth_position")]
    assert len(names) == 1
    position = lifted.network.get_parameter(names[0])
    assert not position.any()
    assert any(position is p for p in lifted.depth_parameters())
    dimlift.flatten(lifted)
    slice_ = torch.randn(1, 3, 1, 32, 32, dtype=torch.float64).expand(-1, -1, 4, -1, -1)
    torch.testing.assert_close(*lifted(slice_)[-1][:, :, [0, 3]].unbind(2))
    with torch.no_grad():
        position.copy_(torch.randn_like(position))
    first, last = lifted(slice_)[-1][:, :, [0, 3]].unbind(2)
    assert (first - last).abs().max() > 1e-3
    with pytest.raises(CannotLift, match="depth_position is not zero"):
        dimlift.flatten(lifted)


@pytest.mark.parametrize(("depth", "factor"), [(4, 2), (5, 2), (3, 5), (1, 2)])
def test_reduction_averages_runs_and_keeps_the_short_one(depth, factor):
    x = torch.randn(2 * depth * 3, 4, dtype=torch.float64)
    with folded_as(Fold(2, depth, 2 * depth)):
        got = average_slices(x, factor).view(2, -1, 3, 4)
    view = x.view(2, depth, 3, 4)
    want = torch.stack([view[:, i : i + factor].mean(1) for i in range(0, depth, factor)], 1)
    torch.testing.assert_close(got, want)


def test_reduction_happens_before_the_map_is_handed_out_and_the_strides_say_so():
    lifted = dimlift.lift("timm:test_resnet", DepthPlan(reduce=(1, 2, 1, 2)), features_only=True)
    maps = lifted(torch.randn(2, 3, 5, 64, 64))
    assert [m.shape[2] for m in maps] == [5, 3, 3, 2, 2]
    assert [s[0] for s in lifted.strides] == [1, 2, 2, 4, 4]
    assert [m.shape[1] for m in maps] == list(lifted.channels)
    assert [round(64 / m.shape[3]) for m in maps] == [s[1] for s in lifted.strides]


def test_tubelets_are_a_3d_patch_embedding():
    lifted = dimlift.lift(network("vit_tiny_patch16_224"), DepthPlan(kernel=2, profile="average", stride="kernel"))
    assert [s[0] for s in lifted.strides] == [2, 2, 2]
    conv = lifted.network.model.patch_embed.proj
    conv.weight.data = torch.randn_like(conv.weight)
    seen = []
    conv.register_forward_hook(lambda module, inputs, out: seen.append(out))
    volume = torch.randn(2, 3, 5, 32, 32, dtype=torch.float64)
    assert lifted(volume)[0].shape[2] == 3
    padded = torch.cat([volume, volume[:, :, -1:]], 2)
    want = F.conv3d(padded, conv.weight, conv.bias, (2, 16, 16)).transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(seen[0], want)


@pytest.mark.parametrize("name", ["test_resnet", "convnext_atto", "resnetv2_50x1_bit", "tf_efficientnet_lite0"])
def test_factorised_starts_as_the_same_function_and_learns_depth(name):
    plan = {"kernel": 3, "profile": "gaussian"}
    net = network(name)
    volume = torch.randn(1, 3, 4, 32, 32, dtype=torch.float64)
    full = dimlift.lift(net, DepthPlan(**plan), certify=False).eval()
    factorised = dimlift.lift(net, DepthPlan(**plan, factorised=True), certify=False).eval()
    for a, b in zip(answers(full, volume), answers(factorised, volume), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)
    new = [n for n in factorised.weights_report.new if n.endswith("depth_profile")]
    assert len(new) == len(full.weights_report.inflated) > 0


@pytest.mark.parametrize("name", ["test_resnet", "convnext_atto", "tf_efficientnet_lite0"])
def test_flatten_of_a_trained_network_is_its_answer_to_a_repeated_slice(name):
    for factorised in (False, True):
        lifted = dimlift.lift(network(name), DepthPlan(profile="average", factorised=factorised), certify=False)
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for parameter in lifted.parameters():
                parameter.mul_(1 + 0.2 * torch.rand(parameter.shape, generator=generator))
        flat = network(name)
        flat.load_state_dict(dimlift.flatten(lifted))
        slice_ = torch.randn(1, 3, 64, 64, dtype=torch.float64)
        for a, b in zip(
            answers(flat, slice_), answers(lifted, slice_[:, :, None].expand(-1, -1, 3, -1, -1)), strict=True
        ):
            torch.testing.assert_close(a, b[:, :, 1], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("factorised", [False, True])
@pytest.mark.parametrize("name", ["test_resnet", "convnext_atto", "test_nfnet"])
def test_gradients_reach_every_tap(name, factorised):
    lifted = dimlift.lift(network(name), DepthPlan(kernel=3, factorised=factorised), certify=False)
    sum(m.square().mean() for m in lifted(torch.randn(1, 3, 3, 64, 64, dtype=torch.float64))).backward()
    for layer, module in lifted.network.named_modules():
        if isinstance(module, TalkingConvolution):
            taps = module.depth_profile.grad if factorised else module.weight.grad.transpose(1, 2).flatten(2).mT
            axis = tuple(range(taps.ndim - 1))
            assert (taps.abs().sum(axis) > 0).all(), layer


@pytest.mark.parametrize("head", ["mean", "max", "attention", "none"])
def test_heads_make_one_answer_of_slices(head):
    flat = scramble(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))).double()
    lifted = dimlift.lift(flat, DepthPlan(head=head))
    slices = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    logits = flat(slices)
    want = {"mean": logits.mean(0), "attention": logits.mean(0), "max": logits.amax(0), "none": logits}[head]
    torch.testing.assert_close(lifted(slices.transpose(0, 1)[None])[0], want)
    assert lifted.channels == (5,)


def test_pools_and_norms_span_slices():
    flat = scramble(nn.Sequential(nn.Conv2d(2, 4, 1), nn.GroupNorm(2, 4))).double()
    volume = torch.randn(2, 2, 3, 5, 5, dtype=torch.float64)
    got = dimlift.lift(flat, DepthPlan(norm="joint"))(volume)
    conv, norm = flat
    inside = F.conv3d(volume, conv.weight[:, :, None], conv.bias)
    torch.testing.assert_close(got, F.group_norm(inside, 2, norm.weight, norm.bias, norm.eps))

    lifted = dimlift.lift(network("seresnext26t_32x4d"), DepthPlan(kernel=1, pool="joint"))
    volume = torch.randn(1, 3, 3, 64, 64, dtype=torch.float64)
    changed = volume.clone()
    changed[:, :, 2] *= 3
    assert (answers(lifted, volume)[-1] - answers(lifted, changed)[-1])[:, :, 0].abs().max() > 1e-6


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnetv2_50x1_bit"])
def test_mean_and_std_go_where_zero_padding_stays_right(name):
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    flat = network(name)
    lifted = dimlift.lift(flat, DepthPlan(), mean=mean, std=std)
    image = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    centre, scale = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (mean, std))
    for a, b in zip(answers(flat, (image - centre) / scale), answers(lifted, image[:, :, None]), strict=True):
        torch.testing.assert_close(a, b[:, :, 0], rtol=1e-9, atol=1e-9)
    again = dimlift.flatten(lifted)
    for key, tensor in flat.state_dict().items():
        torch.testing.assert_close(again[key], tensor)
    with pytest.raises(PlanError, match="std must be positive"):
        dimlift.lift(flat, std=(0.0,))


def test_a_stem_can_sample_more_finely():
    lifted = dimlift.lift("timm:test_resnet", features_only=True, stem_stride=1, stages=3, in_channels=1)
    coarse = dimlift.lift("timm:test_resnet", features_only=True)
    assert lifted.strides == tuple((1, y // 2, x // 2) for _, y, x in coarse.strides[:3])
    with pytest.raises(PlanError, match="stem_stride=9"):
        dimlift.lift("timm:test_resnet", stem_stride=9)


def test_mixed_precision_trains():
    lifted = dimlift.lift("timm:test_convnext", DepthPlan(), features_only=True, in_channels=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sum(m.float().square().mean() for m in lifted(torch.randn(1, 1, 3, 64, 64))).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in lifted.parameters())


def test_what_is_new_to_depth_is_told_apart_for_learning_rates():
    lifted = dimlift.lift("timm:test_resnet", DepthPlan(factorised=True), features_only=True)
    depth = lifted.depth_parameters()
    assert len(depth) == len(lifted.weights_report.new) > 0
    full = dimlift.lift("timm:test_resnet", DepthPlan(), features_only=True)
    assert not full.depth_parameters()
    assert len(full.talking_parameters()) == len(full.weights_report.inflated)
