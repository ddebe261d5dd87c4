"""Convolution over occupied voxels only: a rulebook says which voxel feeds which through which tap of the kernel.

For each tap the inputs are gathered, multiplied and added where they go (Graham et al., 2018, submanifold sparse
convolution, https://arxiv.org/abs/1711.10275). Pure torch, any device, no extension to build; on a GPU spconv follows
the same rulebook, where it is installed (`kernels.spconv_backend`).
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
    """Voxels that one tap of the kernel connects; no voxel stands twice on either side.

    Attributes:
        source: rows of the input.
        target: rows of the output; the very tensor of `source` where every voxel feeds itself.
    """

    source: Int[Tensor, " pairs"]
    target: Int[Tensor, " pairs"]


@dataclass(frozen=True, eq=False)
class Rulebook:
    """All taps of a kernel, in the order of `torch.nn.Conv3d`'s last three axes, x slowest.

    Attributes:
        outputs: rows of the output.
    """

    taps: tuple[Tap, ...]
    outputs: int

    @cached_property
    def pairs(self) -> tuple[Int[Tensor, "2 taps most"], Int[Tensor, " taps"]]:
        """The taps as spconv reads them, made once: rows of input and output, -1 behind the last; pairs of each tap."""
        sides = [pad_sequence(list(side), batch_first=True, padding_value=-1) for side in zip(*self.taps, strict=True)]
        counts = torch.tensor([len(tap.source) for tap in self.taps], dtype=torch.int32)
        return torch.stack(sides).int(), counts.to(sides[0].device)

    def reversed(self, outputs: int) -> "Rulebook":
        """The same pairs from output to input: what an inverse convolution, back to `outputs` voxels, follows."""
        return Rulebook(tuple(Tap(target, source) for source, target in self.taps), outputs)


def submanifold(coordinates: Int[Tensor, "voxels 4"], kernel: int = 3) -> Rulebook:
    """Neighbours among the occupied voxels: outputs lie where inputs lie, and nowhere else.

    Args:
        coordinates: (batch, x, y, z), sorted, every row once, as `geometry.voxels.voxelise` gives them.
        kernel: an odd number.

    Raises:
        ShapeError: for an even kernel, or coordinates that are not sorted.
    """
    if kernel % 2 == 0:
        raise ShapeError(f"a submanifold convolution has an odd kernel, got {kernel}; strided ones may be even")
    reach = kernel // 2
    place = coordinates[:, 1:] - (coordinates[:, 1:].amin(0) if len(coordinates) else 0) + reach
    # a margin of `reach` on both sides: a neighbour outside never wears the number of another voxel
    spans = [int(span) + reach + 1 for span in place.amax(0)] if len(coordinates) else [1, 1, 1]
    keys = _number(torch.cat([coordinates[:, :1], place], 1), spans)
    if len(keys) > 1 and not bool((keys[1:] > keys[:-1]).all()):
        raise ShapeError("the coordinates of voxels must be sorted, every row once; take them from voxelise")
    taps: dict[tuple[int, ...], Tap] = {}
    for offset in product(range(-reach, reach + 1), repeat=3):
        if offset == (0, 0, 0):
            everyone = torch.arange(len(keys), device=keys.device)
            taps[offset] = Tap(everyone, everyone)
        elif offset not in taps:
            step = (offset[0] * spans[1] + offset[1]) * spans[2] + offset[2]
            found = torch.searchsorted(keys, keys + step).clamp_max(max(len(keys) - 1, 0))
            target = (keys[found] == keys + step).nonzero().squeeze(1)
            source = found[target]
            taps[offset] = Tap(source, target)
            taps[tuple(-step for step in offset)] = Tap(target, source)  # the mirror image, for free
    return Rulebook(tuple(taps[offset] for offset in product(range(-reach, reach + 1), repeat=3)), len(coordinates))


def strided(coordinates: Int[Tensor, "voxels 4"], stride: int = 2) -> tuple[Rulebook, Int[Tensor, "coarse 4"]]:
    """Voxels into the coarser voxels they lie in: kernel and stride are the same.

    Returns:
        the rulebook, and the coordinates of the coarse voxels, sorted.
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


def sparse_convolution(
    features: Float[Tensor, "voxels channels"], weight: Float[Tensor, "taps channels outputs"], rules: Rulebook
) -> Float[Tensor, "out outputs"]:
    """Features of the output voxels.

    Args:
        weight: one matrix for each tap.

    Raises:
        ShapeError: if kernel and rulebook have different numbers of taps.
        ConfigError: if spconv is forced (`spconv_backend.computed_by`) and cannot compute these features.
    """
    if len(weight) != len(rules.taps):
        raise ShapeError(f"a kernel of {len(weight)} taps for a rulebook of {len(rules.taps)}; make them alike")
    if len(features) and spconv_backend.serves(features):
        return spconv_backend.convolution(features, weight, *rules.pairs, rules.outputs)
    return _SparseConvolution.apply(features, weight, rules)


class _SparseConvolution(torch.autograd.Function):
    """Gather, multiply, add; and its derivative, without keeping what was gathered."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, rules: Rulebook) -> Tensor:
        ctx.save_for_backward(features, weight)
        ctx.rules = rules
        out = features.new_zeros(rules.outputs, weight.shape[2])
        for matrix, (source, target) in zip(weight, rules.taps, strict=True):
            if source is target:
                out += features @ matrix
            elif len(source):  # in mixed precision products are halves, their sum is not
                out.index_add_(0, target, (features[source] @ matrix).to(out.dtype))
        return out

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (slope,) = slopes
        features, weight = ctx.saved_tensors
        to_features = torch.zeros_like(features) if ctx.needs_input_grad[0] else None
        to_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for index, (source, target) in enumerate(ctx.rules.taps):
            here = slope if source is target else slope[target]
            if to_features is not None:
                back = here @ weight[index].T
                to_features = to_features + back if source is target else to_features.index_add_(0, source, back)
            if to_weight is not None:
                to_weight[index] = (features if source is target else features[source]).T @ here
        return to_features, to_weight, None


def _number(coordinates: Int[Tensor, "rows 4"], spans: list[int]) -> Int[Tensor, " rows"]:
    batch, x, y, z = coordinates.unbind(1)
    return ((batch * spans[0] + x) * spans[1] + y) * spans[2] + z
