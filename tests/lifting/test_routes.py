"""Every fast route to a kernel with a depth axis gives what its plain definition gives, and so do its gradients."""

import pytest
import torch
import torch.nn.functional as F

import dimlift
from dimlift import DepthPlan
from dimlift.lifting.fold import Fold, folded_as
from dimlift.lifting.layers import conv_factorised, conv_kernels
from dimlift.lifting.layers.conv_kernels import Slide
from dimlift.lifting.layers.conv_matmul import product
from dimlift.lifting.layers.conv_winograd import convolve_in_pairs
from dimlift.lifting.layers.depth_shift import tap_after_tap
from lifting.families import FAMILIES, build

BY_NAME = {family.name: family for family in FAMILIES}
PLAIN = Slide((1, 1), (1, 1), (1, 1), 1)
SLIDES = {
    "plain": PLAIN,
    "strided": PLAIN._replace(stride=(2, 1)),
    "dilated": PLAIN._replace(dilation=(2, 2), padding=(2, 2)),
    "grouped": PLAIN._replace(groups=2),
    "depthwise": PLAIN._replace(groups=4),
    "unpadded": PLAIN._replace(padding=(0, 1)),
}
ROUTES = {
    "chosen": conv_kernels.convolve_full,
    "pairs": convolve_in_pairs,
    "taps": conv_kernels.convolve_by_taps,
    "stacked": conv_kernels.convolve_stacked,
    "products": conv_kernels.convolve_by_products,
}
CASES = [
    (route, how)
    for route in ROUTES
    for how in SLIDES
    if not (route in ("stacked", "products") and how in ("grouped", "depthwise"))
    if (route, how) != ("products", "dilated")
]
"""Without those that the rule never sends there."""


def answer_and_gradients(route, fold, x, kernel, *rest):
    x, kernel = x.clone(memory_format=torch.preserve_format).requires_grad_(), kernel.detach().requires_grad_()
    with folded_as(fold):
        answer = route(x, kernel, *rest)
    weights = torch.randn(answer.shape, generator=torch.Generator().manual_seed(1), dtype=answer.dtype)
    return answer, *torch.autograd.grad((answer * weights).sum(), (x, kernel))


@pytest.mark.parametrize(("route", "slide"), CASES)
@pytest.mark.parametrize(("batch", "depth", "extra"), [(1, 1, 1), (2, 2, 1), (1, 5, 2), (2, 4, 1)])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_every_route_is_the_3d_convolution_with_replicated_ends(route, slide, batch, depth, extra, layout):
    how = SLIDES[slide]
    x = torch.randn(batch * depth * extra, 4, 5, 6, dtype=torch.float64).contiguous(memory_format=layout)
    kernel = tap_after_tap(torch.randn(8, 4 // how.groups, 3, 3, 3, dtype=torch.float64))
    fold = Fold(batch, depth, len(x))
    got = answer_and_gradients(ROUTES[route], fold, x, kernel, how)
    want = answer_and_gradients(conv_kernels.convolve_volumes, fold, x, kernel, how)
    for found, plain in zip(got, want, strict=True):
        torch.testing.assert_close(found, plain, rtol=1e-12, atol=1e-12)


def test_the_definition_is_padding_and_conv3d():
    volume, kernel = torch.randn(2, 4, 3, 5, 5), torch.randn(6, 2, 3, 3, 3)
    with folded_as(Fold(2, 3, 6)):
        got = conv_kernels.convolve_volumes(volume.transpose(1, 2).flatten(0, 1), kernel, PLAIN._replace(groups=2))
    padded = F.pad(volume, (0, 0, 0, 0, 1, 1), mode="replicate")
    torch.testing.assert_close(got, F.conv3d(padded, kernel, padding=(0, 1, 1), groups=2).transpose(1, 2).flatten(0, 1))


@pytest.mark.parametrize("k", [1, 2, 4, 5])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("side", [1, 4])
def test_kernels_of_other_depths_are_the_3d_convolution_too(k, groups, side):
    x, how = torch.randn(6, 4, side, side, dtype=torch.float64), PLAIN._replace(groups=groups)
    kernel = tap_after_tap(torch.randn(8, 4 // groups, k, 3, 3, dtype=torch.float64))
    got = answer_and_gradients(conv_kernels.convolve_full, Fold(2, 3, 6), x, kernel, how)
    want = answer_and_gradients(conv_kernels.convolve_volumes, Fold(2, 3, 6), x, kernel, how)
    for found, plain in zip(got, want, strict=True):
        torch.testing.assert_close(found, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_one_pass_over_the_slices_is_the_sum_of_weighed_slices(depth, k, layout):
    x = torch.randn(2 * depth * 2, 5, 3, 4).contiguous(memory_format=layout)
    profile, fold = torch.randn(5, k), Fold(2, depth, len(x))
    got = answer_and_gradients(conv_factorised.mix, fold, x, profile)
    want = answer_and_gradients(conv_factorised.mix_by_taps, fold, x, profile)
    for found, plain in zip(got, want, strict=True):
        torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-5)


def test_second_derivatives_go_through_pairs():
    x = torch.randn(3, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    kernel = torch.randn(2, 2, 3, 2, 2, dtype=torch.float64, requires_grad=True)

    def pairs(x, kernel):
        with folded_as(Fold(1, 3, 3)):
            return convolve_in_pairs(x, kernel, PLAIN)

    assert torch.autograd.gradcheck(pairs, (x, kernel))
    assert torch.autograd.gradgradcheck(pairs, (x, kernel))


@pytest.mark.parametrize("layout", ["rows", "columns", "expanded"])
def test_products_of_few_rows_are_linear_layers_and_so_are_their_derivatives(layout):
    rows = {"rows": torch.randn(2, 3, 9), "columns": torch.randn(9, 3, 2).permute(2, 1, 0)}
    rows["expanded"] = torch.randn(1, 1, 9).expand(2, 3, 9)
    matrix, push = torch.randn(5, 9), torch.randn(2, 3, 5)

    def derivatives(route):
        x, m, g = (t.detach().requires_grad_() for t in (rows[layout], matrix, push))
        answer = route(x, m)
        first = torch.autograd.grad(answer, (x, m), g, create_graph=True)
        second = torch.autograd.grad(sum(f.square().sum() for f in first), (x, m, g))
        return answer, *first, *second

    for found, plain in zip(derivatives(product), derivatives(F.linear), strict=True):
        torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-4)


def test_products_under_autocast_answer_in_its_precision_and_frozen_sides_get_no_gradient():
    rows, matrix = torch.randn(4, 6, requires_grad=True), torch.randn(3, 6)
    with torch.autocast("cpu", torch.bfloat16):
        assert product(rows, matrix).dtype == torch.bfloat16
    product(rows, matrix).sum().backward()
    assert rows.grad is not None
    assert matrix.grad is None


@pytest.mark.parametrize("frozen", ["network", "volume"])
def test_gradients_that_nobody_asked_for_are_not_made(frozen):
    x, kernel = torch.randn(4, 2, 3, 3), torch.randn(2, 2, 3, 3, 3)
    asked, other = (x, kernel) if frozen == "network" else (kernel, x)
    asked.requires_grad_()
    with folded_as(Fold(2, 2, 4)):
        convolve_in_pairs(x, kernel, PLAIN).sum().backward()
    assert asked.grad is not None
    assert other.grad is None


def test_depthwise_kernels_in_half_precision_answer_in_it():
    x, kernel = torch.randn(4, 8, 6, 6), torch.randn(8, 1, 3, 3, 3)
    fold, how = Fold(1, 4, 4), PLAIN._replace(groups=8)
    with folded_as(fold):
        want = conv_kernels.convolve_volumes(x, kernel, how)
        half = conv_kernels.convolve_full(x.bfloat16(), kernel.bfloat16(), how)
        with torch.autocast("cpu", torch.bfloat16):
            auto = conv_kernels.convolve_full(x, kernel, how)
    for found in (half, auto):
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found.float(), want, rtol=0.05, atol=0.1)


COMPILED = {
    "test_resnet": DepthPlan(reduce=(2, 1, 1, 1)),
    "convnext_atto": DepthPlan(),
    "tf_efficientnet_lite0": DepthPlan(factorised=True, pool="joint"),
    "vit_tiny_patch16_224": DepthPlan(stride="kernel", attention="joint"),
}


@pytest.mark.parametrize("name", COMPILED)
def test_encoders_compile_into_one_graph(name):
    torch._dynamo.reset()
    lifted = dimlift.lift(build(BY_NAME[name], torch.float32), COMPILED[name], certify=False)
    compiled = torch.compile(lifted, backend="eager", fullgraph=True)
    volume = torch.randn(1, 3, 4, BY_NAME[name].size, BY_NAME[name].size)
    for found, want in zip(compiled(volume), lifted(volume), strict=True):
        torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-4)
