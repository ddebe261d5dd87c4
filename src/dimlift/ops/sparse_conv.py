"""Sparse convolution over occupied voxels; a rulebook lists the pairs of input and output voxels of each kernel tap.

For each tap the inputs are gathered, multiplied and scattered to the outputs (Graham et al., 2018, submanifold sparse
convolution, https://arxiv.org/abs/1711.10275). Pure PyTorch on any device; on a GPU spconv is used with the same
rulebook if it is installed (`ops.spconv_backend`).
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from dimlift.errors import ShapeError
from dimlift.ops import spconv_backend


class Tap(NamedTuple):
    """Pairs of voxels connected by one tap of the kernel; a voxel occurs at most once on either side.

    Attributes:
        source: rows of the input.
        target: rows of the output; the same tensor object as `source` for the identity.
    """

    source: Int[Tensor, " pairs"]
    target: Int[Tensor, " pairs"]


@dataclass(frozen=True, eq=False)
class Rulebook:
    """The pairs of all taps of a kernel.

    Attributes:
        taps: in the order of the last three axes of a `torch.nn.Conv3d` weight, x slowest.
        outputs: number of output voxels.
    """

    taps: tuple[Tap, ...]
    outputs: int

    @cached_property
    def pairs(self) -> tuple[Int[Tensor, "2 taps most"], Int[Tensor, " taps"]]:
        """The taps in spconv's format: rows of input and output padded with -1, and the number of pairs per tap."""
        sides = [pad_sequence(list(side), batch_first=True, padding_value=-1) for side in zip(*self.taps, strict=True)]
        counts = torch.tensor([len(tap.source) for tap in self.taps], dtype=torch.int32)
        return torch.stack(sides).int(), counts.to(sides[0].device)

    def transposed(self, outputs: int) -> "Rulebook":
        """Return the rulebook of the inverse convolution with `outputs` output voxels."""
        return Rulebook(tuple(Tap(target, source) for source, target in self.taps), outputs)


def submanifold_rulebook(coordinates: Int[Tensor, "voxels 4"], kernel: int = 3) -> Rulebook:
    """Return the rulebook of a submanifold convolution, whose output voxels are the input voxels.

    Args:
        coordinates: sorted, unique rows (batch, x, y, z), as returned by `geometry.voxels.voxelise`.
        kernel: odd kernel size.

    Raises:
        ShapeError: for an even kernel, or coordinates that are not sorted and unique.
    """
    if kernel % 2 == 0:
        raise ShapeError(f"the kernel size of a submanifold convolution must be odd, got {kernel}")
    reach = kernel // 2
    position = coordinates[:, 1:] - (coordinates[:, 1:].amin(0) if len(coordinates) else 0) + reach
    # a margin of `reach` on both sides: a position outside of the grid never has the key of another voxel
    spans = [int(span) + reach + 1 for span in position.amax(0)] if len(coordinates) else [1, 1, 1]
    keys = _voxel_keys(torch.cat([coordinates[:, :1], position], 1), spans)
    if len(keys) > 1 and not bool((keys[1:] > keys[:-1]).all()):
        raise ShapeError("voxel coordinates must be sorted and unique; use those returned by voxelise")
    taps: dict[tuple[int, ...], Tap] = {}
    for offset in product(range(-reach, reach + 1), repeat=3):
        if offset == (0, 0, 0):
            rows = torch.arange(len(keys), device=keys.device)
            taps[offset] = Tap(rows, rows)
        elif offset not in taps:
            step = (offset[0] * spans[1] + offset[1]) * spans[2] + offset[2]
            found = torch.searchsorted(keys, keys + step).clamp_max(max(len(keys) - 1, 0))
            target = (keys[found] == keys + step).nonzero().squeeze(1)
            source = found[target]
            taps[offset] = Tap(source, target)
            taps[tuple(-step for step in offset)] = Tap(target, source)  # the opposite tap has the same pairs
    return Rulebook(tuple(taps[offset] for offset in product(range(-reach, reach + 1), repeat=3)), len(coordinates))


def strided_rulebook(coordinates: Int[Tensor, "voxels 4"], stride: int = 2) -> tuple[Rulebook, Int[Tensor, "coarse 4"]]:
    """Return the rulebook of a convolution whose kernel size equals its stride.

    Returns:
        The rulebook, and the sorted coordinates of the coarse voxels.
    """
    coarse = torch.cat([coordinates[:, :1], torch.div(coordinates[:, 1:], stride, rounding_mode="floor")], 1)
    inside = coordinates[:, 1:] - coarse[:, 1:] * stride
    unique, target = coarse.unique(dim=0, return_inverse=True)
    number = (inside[:, 0] * stride + inside[:, 1]) * stride + inside[:, 2]
    taps = []
    for tap in range(stride**3):
        source = (number == tap).nonzero().squeeze(1)
        taps.append(Tap(source, target[source]))
    return Rulebook(tuple(taps), len(unique)), unique


def sparse_conv(
    features: Float[Tensor, "voxels channels"], weight: Float[Tensor, "taps channels outputs"], rules: Rulebook
) -> Float[Tensor, "out outputs"]:
    """Return the features of the output voxels.

    Args:
        features: of the input voxels.
        weight: one matrix per tap.
        rules: the rulebook.

    Raises:
        ShapeError: if weight and rulebook have different numbers of taps.
        ConfigError: if spconv is forced (`spconv_backend.sparse_backend`) and does not support these features.
    """
    if len(weight) != len(rules.taps):
        raise ShapeError(f"a kernel of {len(weight)} taps for a rulebook of {len(rules.taps)}; use equal numbers")
    if len(features) and spconv_backend.uses_spconv(features):
        return spconv_backend.spconv_conv(features, weight, *rules.pairs, rules.outputs)
    return _SparseConvolution.apply(features, weight, rules)


class _SparseConvolution(torch.autograd.Function):
    """Gather, multiply, scatter; the backward pass does not store the gathered features."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, rules: Rulebook) -> Tensor:
        ctx.save_for_backward(features, weight)
        ctx.rules = rules
        out = features.new_zeros(rules.outputs, weight.shape[2])
        for matrix, (source, target) in zip(weight, rules.taps, strict=True):
            if source is target:
                out += features @ matrix
            elif len(source):  # under autocast the products are half precision, the sum is not
                out.index_add_(0, target, (features[source] @ matrix).to(out.dtype))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (grad,) = grads
        features, weight = ctx.saved_tensors
        grad_features = torch.zeros_like(features) if ctx.needs_input_grad[0] else None
        grad_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for index, (source, target) in enumerate(ctx.rules.taps):
            gathered = grad if source is target else grad[target]
            if grad_features is not None:
                part = gathered @ weight[index].T
                grad_features = grad_features + part if source is target else grad_features.index_add_(0, source, part)
            if grad_weight is not None:
                grad_weight[index] = (features if source is target else features[source]).T @ gathered
        return grad_features, grad_weight, None


def _voxel_keys(coordinates: Int[Tensor, "rows 4"], spans: list[int]) -> Int[Tensor, " rows"]:
    batch, x, y, z = coordinates.unbind(1)
    return ((batch * spans[0] + x) * spans[1] + y) * spans[2] + z
