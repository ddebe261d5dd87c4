"""The laws "coverage" and "location" of a lifted network, on a volume that its cells do not fill.

- Coverage: every voxel changes the output. Measured by the gradient of the output with respect to the volume.
- Location: a bright dot changes the output where it lies. In networks of patches that do not overlap, the cell that
  responds most is centred within half a stride of the dot. Where windows overlap, neighbours may respond more than the
  cell that holds the dot, by chance of the weights; there a cell within half a stride has to respond at all.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dimlift.lifting.certify.certificate import Claim
from dimlift.lifting.certify.dots import (
    HALF,
    Voxel,
    as_list,
    dot_positions,
    responses_to_all_dots,
    responses_to_dots,
    worst_distance,
)
from dimlift.lifting.certify.equivalence import CONSTANT_OUTPUT
from dimlift.lifting.input_size import SIZE_ERRORS
from dimlift.lifting.lifted_module import LiftedModule
from dimlift.lifting.meta_device import run_on_meta
from dimlift.lifting.slice_padding import first_conv

MAX_PARAMETERS = 120_000_000
"""A larger network's activations are not kept for a gradient; a few dots are tried instead."""

ROUNDS = 3
"""Volumes in which each dot is tried alone if not all are located when they are tried together."""


def check_coverage(lifted: LiftedModule, size: tuple[int, int]) -> tuple[Claim, Claim]:
    """Measure coverage and location.

    Args:
        lifted: in eval mode.
        size: (height, width) at which it runs; slices a few pixels smaller are used, if it accepts them.

    Returns:
        One claim for each law.
    """
    volume = _volume(lifted, size)
    dots = dot_positions(tuple(volume.shape[2:]), lifted.strides)
    plain, unread = _unread(lifted, volume)
    if unread is not None:  # a kernel that reads the middle slice alone leaves dots elsewhere without a response
        dots = [dot for dot in dots if not unread[dot]] or dots
    grids = (lifted.strides, lifted.starts)
    together = responses_to_all_dots(lifted, volume, dots, *grids, plain) if lifted.strides and plain else None
    alone = [] if plain else [responses_to_dots(lifted, volume, dots)]
    located = _location(lifted, dots, together, alone)
    while lifted.strides and (located.error is None or not located.holds) and len(alone) < ROUNDS:
        alone.append(responses_to_dots(lifted, volume * (-0.5 - len(alone) if alone else 1.0), dots))
        located = _location(lifted, dots, together, alone)
    if unread is None:
        changed = [
            any(bool(each[index].any()) for responses in alone for each in responses) for index in range(len(dots))
        ]
        return _coverage(changed.count(False), len(dots), "dots", ""), located
    if bool(unread.all()):
        return Claim("coverage", False, CONSTANT_OUTPUT, None, 0.0), located
    reason = "" if _is_trailing(unread) else "the kernels of the 2D network are smaller than their strides"
    if reason and lifted.plan.strides_depth and bool((unread.all((1, 2)) == unread.any((1, 2))).all()):
        reason = "depth strides pass over slices that the depth profile gives no weight"
    return _coverage(int(unread.sum()), unread.numel(), "voxels", reason), located


def _coverage(unread: int, count: int, what: str, reason: str) -> Claim:
    detail = f"{unread} of {count} {what} leave the output unchanged"
    return Claim("coverage", not reason, reason, unread / count, 0.0, detail)


def _volume(lifted: LiftedModule, size: tuple[int, int]) -> Float[Tensor, "1 c d h w"]:
    """Return a random volume that cells do not fill along any axis, if the network accepts one."""
    depth_stride = math.ceil(max((stride[0] for stride in lifted.strides), default=lifted.tubelet_depth))
    depth = depth_stride + 1 if depth_stride > 1 else 1
    generator, weight = torch.Generator().manual_seed(1), next(lifted.parameters())
    less = [5 if multiple == 1 else min(5, multiple - 1) for multiple in lifted.padding.multiple]
    smaller = (max(1, size[0] - less[0]), max(1, size[1] - less[1]))
    shape = (1, lifted.in_channels, depth)
    try:
        run_on_meta(lifted, (*shape, *smaller))
    except SIZE_ERRORS:
        smaller = size
    return torch.randn((*shape, *smaller), generator=generator).to(weight)


def _unread(
    lifted: LiftedModule, volume: Tensor
) -> tuple[list[Tensor], Bool[Tensor, "depth height width"]] | tuple[None, None]:
    """Return the outputs and the voxels on which none of them depends; None if gradients cannot be computed.

    A gradient may vanish at a voxel by chance of the input, as behind a maximum; a second input decides.
    """
    if sum(parameter.numel() for parameter in lifted.parameters()) > MAX_PARAMETERS:
        return None, None
    found = _gradient(lifted, volume)
    if found is None:
        return None, None
    plain, unread = found
    if bool(unread.any()) and (again := _gradient(lifted, volume * -3.0)) is not None:
        unread = unread & again[1]
    return plain, unread


def _gradient(lifted: LiftedModule, volume: Tensor) -> tuple[list[Tensor], Bool[Tensor, "depth height width"]] | None:
    """Return the outputs for a volume, and where their gradient with respect to it is zero."""
    trained = [parameter for parameter in lifted.parameters() if parameter.requires_grad]
    for parameter in trained:  # weights need no gradient, and their activations no memory
        parameter.requires_grad_(False)
    try:
        with torch.enable_grad():
            leaf = volume.detach().requires_grad_()
            outputs = as_list(lifted(leaf))
            generator = torch.Generator().manual_seed(2)
            dependent = [each for each in outputs if each.requires_grad]
            weights = [torch.randn(each.shape, generator=generator).to(each) for each in dependent]
            gradient = torch.autograd.grad(dependent, leaf, weights)[0]
        return [each.detach() for each in outputs], (gradient == 0).all(1)[0]
    except (RuntimeError, NotImplementedError):  # an operation without a gradient
        return None
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def _is_trailing(unread: Bool[Tensor, "depth height width"]) -> bool:
    """Whether the unread voxels are whole slices, rows and columns at the end, as a grid that is too small leaves."""
    read = ~unread
    ends = [int(read.any(dim=tuple(a for a in range(3) if a != axis)).nonzero().max()) + 1 for axis in range(3)]
    return bool(read[: ends[0], : ends[1], : ends[2]].all())


def _location(
    lifted: LiftedModule, dots: list[Voxel], together: list[Tensor] | None, alone: list[list[Tensor]]
) -> Claim:
    """Return the claim for the responses to all dots in one volume, and to each dot alone in several volumes."""
    if not lifted.strides:
        return Claim("location", False, "the output has no positions", None, HALF)
    grids = (lifted.strides, lifted.starts)
    rounds = [*([] if together is None else [together]), *alone]
    most = worst_distance(rounds, dots, *grids, most=True)
    anywhere = worst_distance(rounds, dots, *grids, most=False)
    if most is None or anywhere is None:
        return Claim("location", False, "no dot changes the output", None, HALF)
    strict = _has_patch_grids(lifted)
    if strict and alone:  # the first voxel is in the first cell of any grid, unless neighbours respond more by chance
        first = worst_distance(alone, dots[:1], *grids, most=True)
        strict = first is not None and first <= HALF
    error = most if strict else anywhere
    what = "cell that responds most" if strict else "nearest cell that responds"
    detail = f"a dot and the {what}: {error:.2f} of a stride apart at most, tolerance {HALF}"
    return Claim("location", True, "", error, HALF, detail)


def _has_patch_grids(lifted: LiftedModule) -> bool:
    """Whether the first convolution reads patches that do not overlap, and every later cell holds whole patches.

    Slices must not be pooled after mixing.
    """
    stem = first_conv(lifted.network)
    reduced = lifted.plan.strides_depth or any(pool > 1 for pool in lifted.plan.depth_pool)
    mixed = lifted.plan.kernel != 1 and reduced
    if mixed or stem is None or tuple(stem.kernel_size) != tuple(stem.stride) or max(stem.stride) == 1:
        return False
    return all(side >= step for stride in lifted.strides for side, step in zip(stride[1:], stem.stride, strict=True))
