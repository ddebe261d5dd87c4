"""Check that a lifted network has the 2D network's outputs, on a small input: the laws "slices" and "constancy"."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.errors import LiftError
from dimlift.lifting.certify.certificate import Claim
from dimlift.lifting.depth_plan import DepthPlan
from dimlift.lifting.input_size import SIZE_ERRORS

NUM_SLICES = 3
"""A slice with two neighbours and the two slices at the ends."""

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}

CONSTANT_OUTPUT = "the 2D output does not depend on the image, so a comparison with it shows nothing"


def tolerance_of(images: Tensor) -> float:
    """Return the largest relative error with which a law holds, in the precision of these images."""
    return TOLERANCES.get(images.dtype, 5e-2)


@dataclass(frozen=True)
class EquivalenceCheck:
    """The 2D network's outputs on a few slices, to compare the lifted network with.

    Attributes:
        slices: the input; a grey image repeated over channels if the volume has another number of channels.
        outputs: maps, or [logits]; the first axis counts slices.
        in_channels: number of channels of the lifted network's input.
    """

    slices: Float[Tensor, "n c h w"]
    outputs: list[Tensor]
    in_channels: int

    @property
    def is_constant(self) -> tuple[bool, ...]:
        """For each output, whether it is nearly the same for every slice, so that no error can be detected in it.

        Errors below the tolerance are not detected; outputs of different slices have to differ by ten times as much.
        """
        limit = min(10 * tolerance_of(self.slices), 0.1)
        return tuple(bool((out - out[:1]).abs().max() <= limit * out.abs().max()) for out in self.outputs)

    def rounding_sensitivity(self, network: Callable[[Tensor], Any]) -> float:
        """Return the sensitivity of the 2D network to rounding errors; see `rounding_sensitivity`."""
        return rounding_sensitivity(network, self.slices, self.outputs)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the slices."""
        return self.slices.shape[-2], self.slices.shape[-1]

    def volume(self, repeated: bool) -> Float[Tensor, "1 c n h w"]:
        """Return the slices as one volume, or the first slice n times if `repeated`."""
        slices = self.slices[:1].expand_as(self.slices) if repeated else self.slices
        if self.slices.shape[1] != self.in_channels:
            slices = slices[:, :1].expand(-1, self.in_channels, -1, -1)
        return slices.transpose(0, 1)[None]


def run_2d(
    network: nn.Module,
    image_channels: int,
    in_channels: int,
    sizes: Sequence[tuple[int, int]],
    normalise: Callable[[Tensor], Tensor],
) -> EquivalenceCheck:
    """Run the 2D network, which is in eval mode, without gradients.

    Args:
        network: the 2D network.
        image_channels: number of channels of its input.
        in_channels: number of channels of the lifted network's input.
        sizes: (height, width) to try until the network accepts one.
        normalise: the normalisation that the lifted network will apply to its input.

    Raises:
        LiftError: if it accepts none of the sizes.
    """
    weight = next((p for p in network.parameters() if p.is_floating_point()), torch.empty(0))
    fault: Exception | None = None
    for height, width in sizes:
        generator = torch.Generator().manual_seed(0)
        shape = (NUM_SLICES, image_channels if image_channels == in_channels else 1, height, width)
        slices = torch.randn(shape, generator=generator).to(weight).expand(-1, image_channels, -1, -1)
        try:
            with torch.no_grad():
                out = network(normalise(slices.contiguous(memory_format=torch.channels_last)))
        except SIZE_ERRORS as error:
            fault = error
            continue
        return EquivalenceCheck(slices, _as_list(out), in_channels)
    raise LiftError(
        f"the 2D network accepts none of the image sizes {list(sizes)}: {fault}; give image_size="
    ) from fault


def rounding_sensitivity(network: Callable[[Tensor], Any], x: Tensor, outputs: list[Tensor] | None = None) -> float:
    """Return how much outputs change, relative to the largest, when the input changes by a rounding error.

    Args:
        network: a 2D or a lifted network.
        x: its input.
        outputs: its outputs for `x`; computed if None.
    """
    epsilon = 2 * torch.finfo(x.dtype).eps
    with torch.no_grad():
        before = _as_list(network(x)) if outputs is None else outputs
        after = _as_list(network(x * (1 + epsilon)))
    return max(
        float((a - b).abs().max() / b.abs().max().clamp_min(torch.finfo(b.dtype).tiny))
        for a, b in zip(after, before, strict=True)
    )


def check_equivalence(
    lifted: nn.Module, check: EquivalenceCheck, plan: DepthPlan, unguaranteed: dict[str, str]
) -> tuple[Claim, ...]:
    """Measure the deviation of the lifted network from the 2D outputs.

    Args:
        lifted: the lifted network in eval mode.
        check: the 2D network's outputs.
        plan: its depth plan.
        unguaranteed: the reason for each law the plan does not guarantee.

    Returns:
        One claim for each law.
    """
    tolerance = tolerance_of(check.slices)
    claims = []
    is_informative = not all(check.is_constant)
    for law in ("slices", "constancy"):
        error = _error(lifted, check, plan, repeated=law == "constancy")
        if not is_informative and error is not None and error <= tolerance:
            error = None  # constant outputs agree whatever the lifted network does
        reason = unguaranteed.get(law, "" if is_informative else CONSTANT_OUTPUT)
        claims.append(Claim(law, not reason, reason, error, tolerance))
    return tuple(claims)


def _error(lifted: nn.Module, check: EquivalenceCheck, plan: DepthPlan, repeated: bool) -> float | None:
    with torch.no_grad():
        outputs = _as_list(lifted(check.volume(repeated)))
    worst = 0.0
    for flat, deep in zip(check.outputs, outputs, strict=True):
        expected = _expected(flat, deep, plan, repeated)
        if expected is None:
            return None
        scale = flat.abs().max().clamp_min(torch.finfo(flat.dtype).tiny)
        error = float((deep - expected).abs().max() / scale)
        worst = max(worst, error) if error == error else float("inf")  # NaN is not a small error
    return worst


def _expected(flat: Tensor, deep: Tensor, plan: DepthPlan, repeated: bool) -> Tensor | None:
    """Return the output expected of the lifted network, in its own shape; None if its slices match no 2D output."""
    if repeated:
        flat = flat[:1].expand_as(flat)
    elif plan.stride == "first_conv" and isinstance(
        plan.kernel, int
    ):  # each tubelet has the output of its middle slice
        middles = range(plan.kernel // 2, len(flat) + plan.kernel // 2, plan.kernel)
        flat = flat[[min(middle, len(flat) - 1) for middle in middles]]
    if deep.ndim == 5:  # maps
        depth = deep.shape[2]
        if depth != flat.shape[0]:
            if not repeated:
                return None
            flat = flat[:1].expand(depth, *flat.shape[1:])
        if flat.shape[1] != deep.shape[1]:
            flat = flat.permute(0, 3, 1, 2)
        return flat.transpose(0, 1)[None]
    if flat.ndim == 2 and deep.ndim == 2:
        return flat.amax(0, keepdim=True) if plan.slice_pool == "max" else flat.mean(0, keepdim=True)
    if deep.shape[1] != flat.shape[0]:
        return flat[:1].expand(deep.shape[1], *flat.shape[1:])[None] if repeated else None
    return flat[None]


def _as_list(out: Any) -> list[Tensor]:
    if isinstance(out, dict):
        return list(out.values())
    return list(out) if isinstance(out, list | tuple) else [out]
