"""Winograd's F(2, 3) along depth: two neighbouring answers of a three-slice kernel by four 2D convolutions, not six.

Lavin and Gray, 2016, Fast algorithms for convolutional neural networks, https://arxiv.org/abs/1509.09308, with 2D
convolutions where the paper multiplies numbers. The weights stay the layer's; what they are turned into is made on the
fly.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dimlift.lifting.fold import by_depth

Volumes = Float[Tensor, "b d extra h w c"]
Tiles = list[Float[Tensor, "n i h w"]]
"""Four stacks of images: entry t of each serves the slices 2t and 2t + 1."""


def convolve_in_pairs(
    x: Float[Tensor, "n i h w"], kernel: Float[Tensor, "o i 3 kh kw"], slide: Sequence[Any]
) -> Float[Tensor, "n o h2 w2"]:
    """A full kernel of three slices, depth kept, ends replicated. `slide`: stride, padding, dilation, groups."""
    view = by_depth(x.permute(0, 2, 3, 1))
    depth = view.shape[1]
    if depth % 2:
        view = torch.cat([view, view[:, -1:]], 1)
    answers: Tensor = _Pairs.apply(view, kernel, *slide)
    return answers[:, :depth].flatten(0, 2).permute(0, 3, 1, 2)


class _Pairs(torch.autograd.Function):
    """Keeps the volumes for the gradient, not the tiles made of them, which would take twice the memory."""

    @staticmethod
    def forward(ctx: Any, volumes: Volumes, kernel: Tensor, *slide: Any) -> Volumes:
        ctx.save_for_backward(volumes, kernel)
        ctx.arguments = (*slide[:3], False, (0, 0), slide[3])  # not transposed, no output padding
        pairs = zip(_tiles(volumes), _kernels(kernel), strict=True)
        found = [torch.ops.aten.convolution(v, g, None, *ctx.arguments) for v, g in pairs]
        a, b, c, d = (_in_pairs(f, volumes) for f in found)
        answers = a.new_empty(*a.shape[:2], 2, *a.shape[2:])
        torch.add(a, b, out=answers[:, :, 0]).add_(c)
        torch.sub(b, c, out=answers[:, :, 1]).sub_(d)
        return answers.flatten(1, 2)

    @staticmethod
    def backward(ctx: Any, grad: Volumes) -> tuple[Tensor | None, ...]:
        volumes, kernel = ctx.saved_tensors
        need = (*ctx.needs_input_grad[:2], False)
        first, second = grad[:, 0::2], grad[:, 1::2]
        sides = [first, first + second, first - second, -second]
        found = [
            torch.ops.aten.convolution_backward(_images(side), v, g, None, *ctx.arguments, need)
            for side, v, g in zip(sides, _tiles(volumes), _kernels(kernel), strict=True)
        ]
        grad_volumes = _from_tiles([f[0] for f in found], volumes) if need[0] else None
        grad_kernel = _from_kernels([f[1] for f in found]) if need[1] else None
        return grad_volumes, grad_kernel, None, None, None, None


def _images(x: Volumes) -> Float[Tensor, "n c h w"]:
    return x.flatten(0, 2).permute(0, 3, 1, 2)


def _in_pairs(images: Float[Tensor, "n c h w"], like: Volumes) -> Volumes:
    """Images, one for every pair of slices, as volumes of half the depth."""
    return images.permute(0, 2, 3, 1).unflatten(0, (like.shape[0], like.shape[1] // 2, like.shape[2]))


def _tiles(x: Volumes) -> Tiles:
    here, after = x[:, 0::2], x[:, 1::2]
    before = torch.cat([here[:, :1], after[:, :-1]], 1)
    beyond = torch.cat([here[:, 1:], after[:, -1:]], 1)
    return [_images(v) for v in (before.sub_(after), here + after, after - here, here - beyond)]


def _from_tiles(grads: Tiles, like: Volumes) -> Volumes:
    """The transpose of `_tiles`."""
    a, b, c, d = (_in_pairs(g, like) for g in grads)
    here = (b - c).add_(d)
    here[:, 1:].sub_(d[:, :-1])
    here[:, :1].add_(a[:, :1])
    after = (b + c).sub_(a)
    after[:, :-1].add_(a[:, 1:])
    after[:, -1:].sub_(d[:, -1:])
    return torch.stack([here, after], 2).flatten(1, 2)


def _kernels(kernel: Float[Tensor, "o i 3 kh kw"]) -> list[Float[Tensor, "o i kh kw"]]:
    before, here, after = kernel.unbind(2)
    half, middle = (before + after).mul_(0.5), 0.5 * here
    return [before, half + middle, half - middle, after]


def _from_kernels(grads: list[Float[Tensor, "o i kh kw"]]) -> Float[Tensor, "o i 3 kh kw"]:
    """The transpose of `_kernels`, its taps in memory as those of the layer's kernel."""
    a, b, c, d = (g.permute(0, 2, 3, 1) for g in grads)
    half = (b + c).mul_(0.5)
    return torch.stack([a + half, (b - c).mul_(0.5), d + half]).permute(1, 4, 0, 2, 3)
