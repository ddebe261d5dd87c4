"""Every convolution algorithm has the outputs and gradients of its reference implementation."""

import pytest
import torch
import torch.nn.functional as F

import dimlift
from dimlift import DepthPlan
from dimlift.lifting.fold import Fold, fold_context
from dimlift.lifting.layers import conv_factorised, conv_kernels
from dimlift.lifting.layers.conv_kernels import ConvArgs
from dimlift.lifting.layers.conv_matmul import fast_linear
from dimlift.lifting.layers.conv_winograd import conv_winograd_f23
from dimlift.lifting.layers.depth_shift import taps_channels_last
from lifting.families import FAMILIES, build

BY_NAME = {family.name: family for family in FAMILIES}
PLAIN = ConvArgs((1, 1), (1, 1), (1, 1), 1)
CONV_ARGS = {
    "plain": PLAIN,
    "strided": PLAIN._replace(stride=(2, 1)),
    "dilated": PLAIN._replace(dilation=(2, 2), padding=(2, 2)),
    "grouped": PLAIN._replace(groups=2),
    "depthwise": PLAIN._replace(groups=4),
    "unpadded": PLAIN._replace(padding=(0, 1)),
}
ALGORITHMS = {
    "chosen": conv_kernels.conv_full,
    "winograd": conv_winograd_f23,
    "per tap": conv_kernels.conv_per_tap,
    "stacked": conv_kernels.conv_stacked,
    "im2col": conv_kernels.conv_im2col,
}
CASES = [
    (algorithm, case)
    for algorithm in ALGORITHMS
    for case in CONV_ARGS
    if not (algorithm in ("stacked", "im2col") and case in ("grouped", "depthwise"))
    if (algorithm, case) != ("im2col", "dilated")
]
"""Combinations that `conv_full` can select."""


def output_and_gradients(algorithm, fold, x, kernel, *rest):
    x, kernel = x.clone(memory_format=torch.preserve_format).requires_grad_(), kernel.detach().requires_grad_()
    with fold_context(fold):
        out = algorithm(x, kernel, *rest)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=out.dtype)
    return out, *torch.autograd.grad((out * weights).sum(), (x, kernel))


@pytest.mark.parametrize(("algorithm", "case"), CASES)
@pytest.mark.parametrize(("batch", "depth", "extra"), [(1, 1, 1), (2, 2, 1), (1, 5, 2), (2, 4, 1)])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_conv_algorithm_equals_conv3d_with_replicate_padding(algorithm, case, batch, depth, extra, layout):
    conv_args = CONV_ARGS[case]
    x = torch.randn(batch * depth * extra, 4, 5, 6, dtype=torch.float64).contiguous(memory_format=layout)
    kernel = taps_channels_last(torch.randn(8, 4 // conv_args.groups, 3, 3, 3, dtype=torch.float64))
    fold = Fold(batch, depth, len(x))
    output = output_and_gradients(ALGORITHMS[algorithm], fold, x, kernel, conv_args)
    expected = output_and_gradients(conv_kernels.conv3d_reference, fold, x, kernel, conv_args)
    for found, reference in zip(output, expected, strict=True):
        torch.testing.assert_close(found, reference, rtol=1e-12, atol=1e-12)


def test_conv3d_reference_equals_padded_conv3d():
    volume, kernel = torch.randn(2, 4, 3, 5, 5), torch.randn(6, 2, 3, 3, 3)
    with fold_context(Fold(2, 3, 6)):
        output = conv_kernels.conv3d_reference(volume.transpose(1, 2).flatten(0, 1), kernel, PLAIN._replace(groups=2))
    padded = F.pad(volume, (0, 0, 0, 0, 1, 1), mode="replicate")
    torch.testing.assert_close(
        output, F.conv3d(padded, kernel, padding=(0, 1, 1), groups=2).transpose(1, 2).flatten(0, 1)
    )


@pytest.mark.parametrize("k", [1, 2, 4, 5])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("side", [1, 4])
def test_conv_full_supports_other_depths(k, groups, side):
    x, conv_args = torch.randn(6, 4, side, side, dtype=torch.float64), PLAIN._replace(groups=groups)
    kernel = taps_channels_last(torch.randn(8, 4 // groups, k, 3, 3, dtype=torch.float64))
    output = output_and_gradients(conv_kernels.conv_full, Fold(2, 3, 6), x, kernel, conv_args)
    expected = output_and_gradients(conv_kernels.conv3d_reference, Fold(2, 3, 6), x, kernel, conv_args)
    for found, reference in zip(output, expected, strict=True):
        torch.testing.assert_close(found, reference, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_mix_depth_equals_mix_per_tap(depth, k, layout):
    x = torch.randn(2 * depth * 2, 5, 3, 4).contiguous(memory_format=layout)
    profile, fold = torch.randn(5, k), Fold(2, depth, len(x))
    output = output_and_gradients(conv_factorised.mix_depth, fold, x, profile)
    expected = output_and_gradients(conv_factorised.mix_per_tap, fold, x, profile)
    for found, reference in zip(output, expected, strict=True):
        torch.testing.assert_close(found, reference, rtol=1e-4, atol=1e-5)


def test_conv_winograd_has_second_derivatives():
    x = torch.randn(3, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    kernel = torch.randn(2, 2, 3, 2, 2, dtype=torch.float64, requires_grad=True)

    def winograd(x, kernel):
        with fold_context(Fold(1, 3, 3)):
            return conv_winograd_f23(x, kernel, PLAIN)

    assert torch.autograd.gradcheck(winograd, (x, kernel))
    assert torch.autograd.gradgradcheck(winograd, (x, kernel))


@pytest.mark.parametrize("layout", ["rows", "columns", "expanded"])
def test_fast_linear_equals_linear(layout):
    rows = {"rows": torch.randn(2, 3, 9), "columns": torch.randn(9, 3, 2).permute(2, 1, 0)}
    rows["expanded"] = torch.randn(1, 1, 9).expand(2, 3, 9)
    matrix, grad_out = torch.randn(5, 9), torch.randn(2, 3, 5)

    def derivatives(linear):
        x, m, g = (t.detach().requires_grad_() for t in (rows[layout], matrix, grad_out))
        out = linear(x, m)
        first = torch.autograd.grad(out, (x, m), g, create_graph=True)
        second = torch.autograd.grad(sum(f.square().sum() for f in first), (x, m, g))
        return out, *first, *second

    for found, reference in zip(derivatives(fast_linear), derivatives(F.linear), strict=True):
        torch.testing.assert_close(found, reference, rtol=1e-4, atol=1e-4)


def test_fast_linear_supports_autocast_and_frozen_matrix():
    rows, matrix = torch.randn(4, 6, requires_grad=True), torch.randn(3, 6)
    with torch.autocast("cpu", torch.bfloat16):
        assert fast_linear(rows, matrix).dtype == torch.bfloat16
    fast_linear(rows, matrix).sum().backward()
    assert rows.grad is not None
    assert matrix.grad is None


@pytest.mark.parametrize("frozen", ["network", "volume"])
def test_conv_winograd_skips_gradients_of_frozen_inputs(frozen):
    x, kernel = torch.randn(4, 2, 3, 3), torch.randn(2, 2, 3, 3, 3)
    trained, other = (x, kernel) if frozen == "network" else (kernel, x)
    trained.requires_grad_()
    with fold_context(Fold(2, 2, 4)):
        conv_winograd_f23(x, kernel, PLAIN).sum().backward()
    assert trained.grad is not None
    assert other.grad is None


def test_grouped_conv_keeps_half_precision():
    x, kernel = torch.randn(4, 8, 6, 6), torch.randn(8, 1, 3, 3, 3)
    fold, conv_args = Fold(1, 4, 4), PLAIN._replace(groups=8)
    with fold_context(fold):
        expected = conv_kernels.conv3d_reference(x, kernel, conv_args)
        half = conv_kernels.conv_full(x.bfloat16(), kernel.bfloat16(), conv_args)
        with torch.autocast("cpu", torch.bfloat16):
            auto = conv_kernels.conv_full(x, kernel, conv_args)
    for found in (half, auto):
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.1)


COMPILED = {
    "test_resnet": DepthPlan(depth_pool=(2, 1, 1, 1)),
    "convnext_atto": DepthPlan(),
    "convnextv2_atto": DepthPlan(norm="volume"),
    "tf_efficientnet_lite0": DepthPlan(factorised=True, pool="volume"),
    "vit_tiny_patch16_224": DepthPlan(stride="kernel", attention="volume"),
}


@pytest.mark.parametrize("name", COMPILED)
def test_encoder_compiles_to_one_graph(name):
    torch._dynamo.reset()
    lifted = dimlift.lift(build(BY_NAME[name], torch.float32), COMPILED[name], certify=False)
    compiled = torch.compile(lifted, backend="eager", fullgraph=True)
    volume = torch.randn(1, 3, 4, BY_NAME[name].size, BY_NAME[name].size)
    for found, expected in zip(compiled(volume), lifted(volume), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
