"""Each type of depth mixing: attention, tubelets, depth and slice pooling, factorised kernels, positions, input."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import dimlift
from dimlift import DepthPlan
from dimlift.errors import LiftError, PlanError
from dimlift.lifting.fold import Fold, fold_context
from dimlift.lifting.layers.attention.sdpa import attend_across_slices, slice_windows
from dimlift.lifting.layers.conv import InflatedConv2d
from dimlift.lifting.layers.depth_pool import average_slices
from lifting.families import FAMILIES, build, images, run_network, scramble

BY_NAME = {family.name: family for family in FAMILIES}


def network(name, dtype=torch.float64):
    return build(BY_NAME[name], dtype)


@pytest.mark.parametrize("depth", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("window", [1, 2, 3, 4, "volume"])
def test_slice_windows_cover_every_slice_once(depth, layer, window):
    covered = [s for first, n, size in slice_windows(depth, window, layer) for s in range(first, first + n * size)]
    assert covered == list(range(depth))
    assert all(window == "volume" or size <= window for _, _, size in slice_windows(depth, window, layer))


def test_slice_windows_of_next_layer_overlap_borders():
    borders = [
        {first + i * size for first, n, size in slice_windows(8, 4, layer) for i in range(n)} for layer in (0, 1)
    ]
    assert borders == [{0, 4}, {0, 2, 6}]


@pytest.mark.parametrize("window", ["volume", 2])
@pytest.mark.parametrize("masked", ["none", "shared", "own"])
def test_attend_across_slices_equals_attention_over_window_tokens(window, masked):
    batch, depth, extra, heads, tokens, width = 2, 4, 3, 2, 5, 8
    q, k, v = (torch.randn(batch * depth * extra, heads, tokens, width, dtype=torch.float64) for _ in range(3))
    shape = {"shared": (heads, tokens, tokens), "own": (batch * depth * extra, 1, tokens, tokens)}.get(masked)
    mask = None if shape is None else torch.randn(shape, dtype=torch.float64)
    fold = Fold(batch, depth, batch * depth)
    with fold_context(fold):
        output = attend_across_slices(F.scaled_dot_product_attention, fold, window, q, k, v, attn_mask=mask)
    size = depth if window == "volume" else window
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
                expected = F.scaled_dot_product_attention(*joined, attn_mask=big)[0].unflatten(1, (size, tokens))
                for i, r in enumerate(rows):
                    torch.testing.assert_close(output[r], expected[:, i])


@pytest.mark.parametrize("attention", ["volume", 2])
def test_attention_across_slices_mixes_slices(attention):
    lifted = dimlift.lift(network("vit_tiny_patch16_224"), DepthPlan(kernel=1, attention=attention))
    volume = images(BY_NAME["vit_tiny_patch16_224"], 4, 3, torch.float64).transpose(0, 1)[None]
    changed = volume.clone()
    changed[:, :, 1] += 1
    a, b = run_network(lifted, volume)[-1], run_network(lifted, changed)[-1]
    assert (a[:, :, 0] - b[:, :, 0]).abs().max() > 1e-6
    assert "attention" in str(lifted.certificate)


def test_checkpointing_keeps_gradients_of_attention_and_depth_pooling():
    plan = DepthPlan(kernel=3, inflation="average", attention=2, depth_pool=(2,))
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


def test_depth_position_starts_at_zero_and_distinguishes_slices():
    lifted = dimlift.lift(network("vit_tiny_patch16_224"), DepthPlan(kernel=1, attention="volume"))
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
    with pytest.raises(LiftError, match="depth_position is not zero"):
        dimlift.flatten(lifted)


@pytest.mark.parametrize(("depth", "factor"), [(4, 2), (5, 2), (3, 5), (1, 2)])
def test_average_slices_keeps_smaller_last_group(depth, factor):
    x = torch.randn(2 * depth * 3, 4, dtype=torch.float64)
    with fold_context(Fold(2, depth, 2 * depth)):
        output = average_slices(x, factor).view(2, -1, 3, 4)
    view = x.view(2, depth, 3, 4)
    expected = torch.stack([view[:, i : i + factor].mean(1) for i in range(0, depth, factor)], 1)
    torch.testing.assert_close(output, expected)


def test_depth_pooling_precedes_map_and_changes_strides():
    lifted = dimlift.lift("timm:test_resnet", DepthPlan(depth_pool=(1, 2, 1, 2)), features_only=True)
    maps = lifted(torch.randn(2, 3, 5, 64, 64))
    assert [m.shape[2] for m in maps] == [5, 3, 3, 2, 2]
    assert [s[0] for s in lifted.strides] == [1, 2, 2, 4, 4]
    assert [m.shape[1] for m in maps] == list(lifted.channels)
    assert [round(64 / m.shape[3]) for m in maps] == [s[1] for s in lifted.strides]


def test_tubelets_equal_3d_patch_embedding():
    lifted = dimlift.lift(network("vit_tiny_patch16_224"), DepthPlan(kernel=2, inflation="average", stride="kernel"))
    assert [s[0] for s in lifted.strides] == [2, 2, 2]
    conv = lifted.network.model.patch_embed.proj
    conv.weight.data = torch.randn_like(conv.weight)
    outputs = []
    conv.register_forward_hook(lambda module, inputs, out: outputs.append(out))
    volume = torch.randn(2, 3, 5, 32, 32, dtype=torch.float64)
    assert lifted(volume)[0].shape[2] == 3
    padded = torch.cat([volume, volume[:, :, -1:]], 2)
    expected = F.conv3d(padded, conv.weight, conv.bias, (2, 16, 16)).transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(outputs[0], expected)


@pytest.mark.parametrize("name", ["test_resnet", "convnext_atto", "resnetv2_50x1_bit", "tf_efficientnet_lite0"])
def test_factorised_kernel_starts_as_full_kernel(name):
    plan = {"kernel": 3, "inflation": "gaussian"}
    net = network(name)
    volume = torch.randn(1, 3, 4, 32, 32, dtype=torch.float64)
    full = dimlift.lift(net, DepthPlan(**plan), certify=False).eval()
    factorised = dimlift.lift(net, DepthPlan(**plan, factorised=True), certify=False).eval()
    for a, b in zip(run_network(full, volume), run_network(factorised, volume), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)
    new = [n for n in factorised.weights_report.new if n.endswith("depth_profile")]
    assert len(new) == len(full.weights_report.inflated) > 0


@pytest.mark.parametrize("name", ["test_resnet", "convnext_atto", "tf_efficientnet_lite0"])
def test_flatten_of_trained_network_keeps_output_of_repeated_slice(name):
    for factorised in (False, True):
        lifted = dimlift.lift(network(name), DepthPlan(inflation="average", factorised=factorised), certify=False)
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for parameter in lifted.parameters():
                parameter.mul_(1 + 0.2 * torch.rand(parameter.shape, generator=generator))
        flat = network(name)
        flat.load_state_dict(dimlift.flatten(lifted))
        slice_ = torch.randn(1, 3, 64, 64, dtype=torch.float64)
        for a, b in zip(
            run_network(flat, slice_), run_network(lifted, slice_[:, :, None].expand(-1, -1, 3, -1, -1)), strict=True
        ):
            torch.testing.assert_close(a, b[:, :, 1], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("factorised", [False, True])
@pytest.mark.parametrize("name", ["test_resnet", "convnext_atto", "test_nfnet"])
def test_gradients_reach_every_tap(name, factorised):
    lifted = dimlift.lift(network(name), DepthPlan(kernel=3, factorised=factorised), certify=False)
    sum(m.square().mean() for m in lifted(torch.randn(1, 3, 3, 64, 64, dtype=torch.float64))).backward()
    for layer, module in lifted.network.named_modules():
        if isinstance(module, InflatedConv2d):
            taps = module.depth_profile.grad if factorised else module.weight.grad.transpose(1, 2).flatten(2).mT
            axis = tuple(range(taps.ndim - 1))
            assert (taps.abs().sum(axis) > 0).all(), layer


@pytest.mark.parametrize("head", ["mean", "max", "attention", "none"])
def test_slice_pool_reduces_logits(head):
    flat = scramble(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))).double()
    lifted = dimlift.lift(flat, DepthPlan(slice_pool=head))
    slices = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    logits = flat(slices)
    expected = {"mean": logits.mean(0), "attention": logits.mean(0), "max": logits.amax(0), "none": logits}[head]
    torch.testing.assert_close(lifted(slices.transpose(0, 1)[None])[0], expected)
    assert lifted.channels == (5,)


def test_pool_and_norm_span_slices():
    flat = scramble(nn.Sequential(nn.Conv2d(2, 4, 1), nn.GroupNorm(2, 4))).double()
    volume = torch.randn(2, 2, 3, 5, 5, dtype=torch.float64)
    output = dimlift.lift(flat, DepthPlan(norm="volume"))(volume)
    conv, norm = flat
    inside = F.conv3d(volume, conv.weight[:, :, None], conv.bias)
    torch.testing.assert_close(output, F.group_norm(inside, 2, norm.weight, norm.bias, norm.eps))

    lifted = dimlift.lift(network("seresnext26t_32x4d"), DepthPlan(kernel=1, pool="volume"))
    volume = torch.randn(1, 3, 3, 64, 64, dtype=torch.float64)
    changed = volume.clone()
    changed[:, :, 2] *= 3
    assert (run_network(lifted, volume)[-1] - run_network(lifted, changed)[-1])[:, :, 0].abs().max() > 1e-6


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnetv2_50x1_bit"])
def test_input_normalisation_keeps_zero_padding_correct(name):
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    flat = network(name)
    lifted = dimlift.lift(flat, DepthPlan(), mean=mean, std=std)
    image = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    centre, scale = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (mean, std))
    for a, b in zip(run_network(flat, (image - centre) / scale), run_network(lifted, image[:, :, None]), strict=True):
        torch.testing.assert_close(a, b[:, :, 0], rtol=1e-9, atol=1e-9)
    again = dimlift.flatten(lifted)
    for key, tensor in flat.state_dict().items():
        torch.testing.assert_close(again[key], tensor)
    with pytest.raises(PlanError, match="std must be positive"):
        dimlift.lift(flat, std=(0.0,))


def test_stem_stride_refines_maps():
    lifted = dimlift.lift("timm:test_resnet", features_only=True, stem_stride=1, num_stages=3, in_chans=1)
    coarse = dimlift.lift("timm:test_resnet", features_only=True)
    assert lifted.strides == tuple((1, y // 2, x // 2) for _, y, x in coarse.strides[:3])
    with pytest.raises(PlanError, match="stem_stride=9"):
        dimlift.lift("timm:test_resnet", stem_stride=9)


def test_mixed_precision_gives_finite_gradients():
    lifted = dimlift.lift("timm:test_convnext", DepthPlan(), features_only=True, in_chans=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sum(m.float().square().mean() for m in lifted(torch.randn(1, 1, 3, 64, 64))).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in lifted.parameters())


def test_depth_parameters_are_listed():
    lifted = dimlift.lift("timm:test_resnet", DepthPlan(factorised=True), features_only=True)
    depth = lifted.depth_parameters()
    assert len(depth) == len(lifted.weights_report.new) > 0
    full = dimlift.lift("timm:test_resnet", DepthPlan(), features_only=True)
    assert not full.depth_parameters()
    assert len(full.depth_mixing_parameters()) == len(full.weights_report.inflated)
