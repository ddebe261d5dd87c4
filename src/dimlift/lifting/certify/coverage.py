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
from dimlift.lifting.certify.dots import dot_positions, responses_to_dots, worst_distance
from dimlift.lifting.certify.equivalence import CONSTANT_OUTPUT
from dimlift.lifting.input_size import SIZE_ERRORS
from dimlift.lifting.lifted_module import LiftedModule
from dimlift.lifting.meta_device import run_on_meta
from dimlift.lifting.slice_padding import first_conv

MAX_PARAMETERS = 120_000_000
"""A larger network's activations are not kept for a gradient; a few dots are tried instead."""

HALF = 0.5
ROUNDS = 3


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
    rounds = [responses_to_dots(lifted, volume, dots)]
    located = _location(lifted, volume, dots, rounds)
    while not located.holds and len(rounds) < ROUNDS:
        rounds.append(responses_to_dots(lifted, volume * -(len(rounds) + 0.5), dots))
        located = _location(lifted, volume, dots, rounds)
    unread = _unread(lifted, volume)
    if unread is None:
        changed = [
            any(bool(each[index].any()) for responses in rounds for each in responses) for index in range(len(dots))
        ]
        return _coverage(changed.count(False), len(dots), "dots", ""), located
    if bool(unread.all()):
        return Claim("coverage", False, CONSTANT_OUTPUT, None, 0.0), located
    reason = "" if _is_trailing(unread) else "the kernels of the 2D network are smaller than their strides"
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


def _unread(lifted: LiftedModule, volume: Tensor) -> Bool[Tensor, "depth height width"] | None:
    """Return the voxels on which no output depends; None if gradients cannot be computed.

    A gradient may vanish at a voxel by chance of the input, as behind a maximum; a second input decides.
    """
    if sum(parameter.numel() for parameter in lifted.parameters()) > MAX_PARAMETERS:
        return None
    unread = None
    for scale in (1.0, -3.0):
        gradient = _gradient(lifted, volume * scale)
        if gradient is None:
            return None
        zero = (gradient == 0).all(1)[0]
        unread = zero if unread is None else unread & zero
        if not bool(unread.any()):
            break
    return unread


def _gradient(lifted: LiftedModule, volume: Tensor) -> Float[Tensor, "1 c d h w"] | None:
    trained = [parameter for parameter in lifted.parameters() if parameter.requires_grad]
    for parameter in trained:  # weights need no gradient, and their activations no memory
        parameter.requires_grad_(False)
    try:
        with torch.enable_grad():
            leaf = volume.detach().requires_grad_()
            out = lifted(leaf)
            generator = torch.Generator().manual_seed(2)
            total = sum(
                (each * torch.randn(each.shape, generator=generator).to(each)).sum()
                for each in (out if isinstance(out, list) else [out])
            )
            return torch.autograd.grad(total, leaf)[0]
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
    lifted: LiftedModule, volume: Tensor, dots: list[tuple[int, int, int]], rounds: list[list[Tensor]]
) -> Claim:
    if not lifted.strides:
        return Claim("location", False, "the output has no positions", None, HALF)
    grids = (lifted.strides, lifted.starts)
    most = worst_distance(rounds, dots, *grids, most=True)
    anywhere = worst_distance(rounds, dots, *grids, most=False)
    if most is None or anywhere is None:
        return Claim("location", False, "no dot changes the output", None, HALF)
    first = worst_distance(rounds, dots[:1], *grids, most=True)
    strict = _reads_patches(lifted) and first is not None and first <= HALF
    error = most if strict else anywhere
    what = "cell that responds most" if strict else "nearest cell that responds"
    detail = f"a dot and the {what}: {error:.2f} of a stride apart at most, tolerance {HALF}"
    if not strict:
        detail += f"; the cell that responds most: {most:.2f}"
    return Claim("location", True, "", error, HALF, detail)


def _reads_patches(lifted: LiftedModule) -> bool:
    """Whether the first convolution reads patches that do not overlap."""
    stem = first_conv(lifted.network)
    return stem is not None and tuple(stem.kernel_size) == tuple(stem.stride) and max(stem.stride) > 1
