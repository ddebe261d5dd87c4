"""Laws 1 and 2 on a small input: the 2D network's answers first, then the lifted network's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.errors import CannotLift
from dimlift.lifting.certify.certificate import Claim
from dimlift.lifting.depth_plan import DepthPlan
from dimlift.lifting.input_size import REFUSALS
from dimlift.lifting.stem import image_channels

SLICES = 3
"""Enough for a slice with two neighbours and two slices at the ends."""

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}


BLIND = "the 2D answers do not depend on the image, so comparing with them shows nothing"


def tolerance_of(images: Tensor) -> float:
    """What an error may be in this arithmetic."""
    return TOLERANCE.get(images.dtype, 5e-2)


@dataclass(frozen=True)
class Trial:
    """What the 2D network answered.

    Attributes:
        slices: what it was shown; a grey image in every channel where the volume has another number of them.
        answers: its maps, or [logits]; one entry per slice in front.
        in_channels: of the volumes the lifted network will read.
    """

    slices: Float[Tensor, "n c h w"]
    answers: list[Tensor]
    in_channels: int

    @property
    def blind(self) -> tuple[bool, ...]:
        """For each answer, whether it is nearly the same for every slice: then it cannot tell right from wrong.

        What an error can hide behind is the tolerance; answers have to differ by ten times as much.
        """
        limit = min(10 * tolerance_of(self.slices), 0.1)
        return tuple(bool((answer - answer[:1]).abs().max() <= limit * answer.abs().max()) for answer in self.answers)

    def shaken(self, ask: Callable[[Tensor], Any]) -> float:
        """How far the answers move, relative to the largest, when the slices move by a rounding error or two."""
        return moved_by_rounding(ask, self.slices, self.answers)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the slices."""
        return self.slices.shape[-2], self.slices.shape[-1]

    def volume(self, repeated: bool) -> Float[Tensor, "1 c n h w"]:
        """The slices as one volume; the first one n times over if `repeated`."""
        slices = self.slices[:1].expand_as(self.slices) if repeated else self.slices
        if self.slices.shape[1] != self.in_channels:
            slices = slices[:, :1].expand(-1, self.in_channels, -1, -1)
        return slices.transpose(0, 1)[None]


def try_flat(
    network: nn.Module, in_channels: int, sizes: list[tuple[int, int]], normalise: Callable[[Tensor], Tensor]
) -> Trial:
    """Ask the 2D network, in eval mode and without gradients.

    Args:
        network: the 2D network.
        in_channels: of the volumes.
        sizes: (height, width) to try until it answers.
        normalise: what the lifted network will do to its input by itself.

    Raises:
        CannotLift: if it answers at no size.
    """
    weight = next((p for p in network.parameters() if p.is_floating_point()), torch.empty(0))
    channels = image_channels(network)
    fault: Exception | None = None
    for height, width in sizes:
        generator = torch.Generator().manual_seed(0)
        shape = (SLICES, channels if channels == in_channels else 1, height, width)
        slices = torch.randn(shape, generator=generator).to(weight).expand(-1, channels, -1, -1)
        try:
            with torch.no_grad():
                answers = network(normalise(slices.contiguous(memory_format=torch.channels_last)))
        except REFUSALS as refused:
            fault = refused
            continue
        return Trial(slices, _as_list(answers), in_channels)
    raise CannotLift(f"the 2D network answers at none of the sizes {sizes}: {fault}; give image_size=") from fault


def moved_by_rounding(ask: Callable[[Tensor], Any], shown: Tensor, answers: list[Tensor] | None = None) -> float:
    """How far answers move, relative to the largest, when what is shown moves by a rounding error or two.

    Args:
        ask: a network.
        shown: to it.
        answers: that it gave to `shown`; asked for if None.
    """
    epsilon = 2 * torch.finfo(shown.dtype).eps
    with torch.no_grad():
        still = _as_list(ask(shown)) if answers is None else answers
        moved = _as_list(ask(shown * (1 + epsilon)))
    return max(
        float((a - b).abs().max() / b.abs().max().clamp_min(torch.finfo(b.dtype).tiny))
        for a, b in zip(moved, still, strict=True)
    )


def measure(lifted: nn.Module, trial: Trial, plan: DepthPlan, places_why: dict[str, str]) -> tuple[Claim, ...]:
    """Run the lifted network on the trial's slices and say how far it is from the 2D answers.

    Args:
        lifted: in eval mode.
        trial: the 2D network's answers.
        plan: what was planned.
        places_why: for each law that is not claimed, the reason.
    """
    tolerance = tolerance_of(trial.slices)
    claims = []
    shown = not all(trial.blind)
    for law in ("slices", "constancy"):
        error = _error(lifted, trial, plan, repeated=law == "constancy")
        if not shown and error is not None and error <= tolerance:
            error = None  # agreement of answers that could not differ
        reason = places_why.get(law, "" if shown else BLIND)
        claims.append(Claim(law, not reason, reason, error, tolerance))
    return tuple(claims)


def _error(lifted: nn.Module, trial: Trial, plan: DepthPlan, repeated: bool) -> float | None:
    with torch.no_grad():
        given = _as_list(lifted(trial.volume(repeated)))
    worst = 0.0
    for flat, deep in zip(trial.answers, given, strict=True):
        wanted = _expected(flat, deep, plan, repeated)
        if wanted is None:
            return None
        scale = flat.abs().max().clamp_min(torch.finfo(flat.dtype).tiny)
        deviation = float((deep - wanted).abs().max() / scale)
        worst = max(worst, deviation) if deviation == deviation else float("inf")  # a NaN is no small error
    return worst


def _expected(flat: Tensor, deep: Tensor, plan: DepthPlan, repeated: bool) -> Tensor | None:
    """What the lifted network should answer, in its own shape; None if slices have no counterpart."""
    if repeated:
        flat = flat[:1].expand_as(flat)
    elif plan.stride == "stem" and isinstance(plan.kernel, int):  # a tubelet answers for its middle slice
        runs = range(plan.kernel // 2, len(flat) + plan.kernel // 2, plan.kernel)
        flat = flat[[min(middle, len(flat) - 1) for middle in runs]]
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
        return flat.amax(0, keepdim=True) if plan.head == "max" else flat.mean(0, keepdim=True)
    if deep.shape[1] != flat.shape[0]:
        return flat[:1].expand(deep.shape[1], *flat.shape[1:])[None] if repeated else None
    return flat[None]


def _as_list(out: Any) -> list[Tensor]:
    if isinstance(out, dict):
        return list(out.values())
    return list(out) if isinstance(out, list | tuple) else [out]
