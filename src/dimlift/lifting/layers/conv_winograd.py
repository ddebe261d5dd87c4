"""Winograd's F(2, 3) along depth: two neighbouring slices of a 3-slice kernel take four 2D convolutions instead of six.

Lavin and Gray, 2016, Fast algorithms for convolutional neural networks, https://arxiv.org/abs/1509.09308, with 2D
convolutions in place of the paper's multiplications. The layer keeps its weights; they are transformed at each forward.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dimlift.lifting.fold import split_depth

Volumes = Float[Tensor, "b d extra h w c"]
Tiles = list[Float[Tensor, "n i h w"]]
"""Four stacks of images; entry t of each contributes to the slices 2t and 2t + 1."""


def conv_winograd_f23(
    x: Float[Tensor, "n i h w"], kernel: Float[Tensor, "o i 3 kh kw"], conv_args: Sequence[Any]
) -> Float[Tensor, "n o h2 w2"]:
    """Convolve with a 3D kernel of three slices, with replicate padding along depth.

    Args:
        x: folded slices.
        kernel: 3D kernel.
        conv_args: stride, padding, dilation and groups within a slice.
    """
    view = split_depth(x.permute(0, 2, 3, 1))
    depth = view.shape[1]
    if depth % 2:
        view = torch.cat([view, view[:, -1:]], 1)
    out: Tensor = _WinogradF23.apply(view, kernel, *conv_args)
    return out[:, :depth].flatten(0, 2).permute(0, 3, 1, 2)


class _WinogradF23(torch.autograd.Function):
    """Saves the volumes for the gradient instead of the tiles computed from them, which would take twice the memory."""

    @staticmethod
    def forward(ctx: Any, volumes: Volumes, kernel: Tensor, *conv_args: Any) -> Volumes:
        ctx.save_for_backward(volumes, kernel)
        ctx.arguments = (*conv_args[:3], False, (0, 0), conv_args[3])  # not transposed, no output padding
        pairs = zip(_tiles(volumes), _kernels(kernel), strict=True)
        parts = [torch.ops.aten.convolution(v, g, None, *ctx.arguments) for v, g in pairs]
        a, b, c, d = (_pairs_of_slices(f, volumes) for f in parts)
        out = a.new_empty(*a.shape[:2], 2, *a.shape[2:])
        torch.add(a, b, out=out[:, :, 0]).add_(c)
        torch.sub(b, c, out=out[:, :, 1]).sub_(d)
        return out.flatten(1, 2)

    @staticmethod
    def backward(ctx: Any, grad: Volumes) -> tuple[Tensor | None, ...]:
        volumes, kernel = ctx.saved_tensors
        need = (*ctx.needs_input_grad[:2], False)
        first, second = grad[:, 0::2], grad[:, 1::2]
        sides = [first, first + second, first - second, -second]
        parts = [
            torch.ops.aten.convolution_backward(_images(side), v, g, None, *ctx.arguments, need)
            for side, v, g in zip(sides, _tiles(volumes), _kernels(kernel), strict=True)
        ]
        grad_volumes = _from_tiles([f[0] for f in parts], volumes) if need[0] else None
        grad_kernel = _from_kernels([f[1] for f in parts]) if need[1] else None
        return grad_volumes, grad_kernel, None, None, None, None


def _images(x: Volumes) -> Float[Tensor, "n c h w"]:
    return x.flatten(0, 2).permute(0, 3, 1, 2)


def _pairs_of_slices(images: Float[Tensor, "n c h w"], like: Volumes) -> Volumes:
    """Reshape images, one for each pair of slices, to volumes of half the depth."""
    return images.permute(0, 2, 3, 1).unflatten(0, (like.shape[0], like.shape[1] // 2, like.shape[2]))


def _tiles(x: Volumes) -> Tiles:
    current, after = x[:, 0::2], x[:, 1::2]
    before = torch.cat([current[:, :1], after[:, :-1]], 1)
    following = torch.cat([current[:, 1:], after[:, -1:]], 1)
    return [_images(v) for v in (before.sub_(after), current + after, after - current, current - following)]


def _from_tiles(grads: Tiles, like: Volumes) -> Volumes:
    """Apply the transpose of `_tiles`."""
    a, b, c, d = (_pairs_of_slices(g, like) for g in grads)
    current = (b - c).add_(d)
    current[:, 1:].sub_(d[:, :-1])
    current[:, :1].add_(a[:, :1])
    after = (b + c).sub_(a)
    after[:, :-1].add_(a[:, 1:])
    after[:, -1:].sub_(d[:, -1:])
    return torch.stack([current, after], 2).flatten(1, 2)


def _kernels(kernel: Float[Tensor, "o i 3 kh kw"]) -> list[Float[Tensor, "o i kh kw"]]:
    before, current, after = kernel.unbind(2)
    half, middle = (before + after).mul_(0.5), 0.5 * current
    return [before, half + middle, half - middle, after]


def _from_kernels(grads: list[Float[Tensor, "o i kh kw"]]) -> Float[Tensor, "o i 3 kh kw"]:
    """Apply the transpose of `_kernels`; the result has the memory layout of the layer's kernel."""
    a, b, c, d = (g.permute(0, 2, 3, 1) for g in grads)
    half = (b + c).mul_(0.5)
    return torch.stack([a + half, (b - c).mul_(0.5), d + half]).permute(1, 4, 0, 2, 3)
