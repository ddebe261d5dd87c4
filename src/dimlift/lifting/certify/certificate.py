"""The certificate of a lift: what mixes along depth, where the weights come from, which laws hold and their errors."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from dimlift.lifting.certify.weight_report import WeightsReport


@dataclass(frozen=True)
class MixingLayer:
    """A layer or operation that mixes along depth.

    Attributes:
        name: its name in the network.
        description: how it mixes.
    """

    name: str
    description: str


@dataclass(frozen=True)
class Claim:
    """One law, checked on a small input.

    Attributes:
        law: "slices" (every slice has its 2D output), "constancy" (a repeated slice has its 2D output), "coverage"
            (every voxel changes the output) or "location" (the response to a dot is within half a stride).
        claimed: whether the plan guarantees it.
        reason: why it is not guaranteed; empty if it is.
        error: largest deviation from the 2D output, relative to the largest 2D output; of coverage, the fraction of
            voxels without effect; of location, a distance in strides. None if it was not measured.
        tolerance: largest error with which a claimed law holds.
        detail: the error in words, where it is no relative deviation.
    """

    law: str
    claimed: bool
    reason: str
    error: float | None
    tolerance: float
    detail: str = ""

    @property
    def measured(self) -> str:
        """The error and, for a claimed law, the tolerance, in words."""
        if self.error is None:
            return "not measured"
        error = self.detail or f"error {self.error:.1e}"
        return error if self.detail or not self.claimed else f"{error}, tolerance {self.tolerance:.0e}"

    @property
    def holds(self) -> bool:
        """Whether a claimed law was measured to hold; a law that is not claimed cannot be broken."""
        return not self.claimed or (self.error is not None and self.error <= self.tolerance)


@dataclass(frozen=True)
class Certificate:
    """What was checked when a network was lifted.

    Attributes:
        source: name of the 2D network; None for a live module.
        layers: what mixes along depth.
        weights: where each weight comes from.
        claims: the laws and their measured errors.
        volume: shape of the input they were measured on.
        seconds: time the lift took.
        notes: further findings, one sentence each.
        origin: origin and terms of the weights, in one line.
    """

    source: str | None
    layers: tuple[MixingLayer, ...]
    weights: WeightsReport
    claims: tuple[Claim, ...]
    volume: tuple[int, ...]
    seconds: float
    notes: tuple[str, ...] = field(default=())
    origin: str = ""

    @property
    def holds(self) -> bool:
        """Whether every claimed law was measured to hold."""
        return all(claim.holds for claim in self.claims)

    def to_json(self) -> dict[str, Any]:
        """Return the certificate as plain JSON."""
        return {
            "source": self.source,
            "holds": self.holds,
            "layers": [{"name": layer.name, "description": layer.description} for layer in self.layers],
            "weights": self.weights.to_json(),
            "claims": [
                {
                    "law": claim.law,
                    "claimed": claim.claimed,
                    "reason": claim.reason,
                    "error": claim.error,
                    "tolerance": claim.tolerance,
                    "detail": claim.detail,
                    "holds": claim.holds,
                }
                for claim in self.claims
            ],
            "volume": list(self.volume),
            "seconds": self.seconds,
            "notes": list(self.notes),
            "origin": self.origin,
        }

    def __str__(self) -> str:
        weights = self.weights
        count = len(self.layers)
        lines = [f"lifted {self.source or 'network'}: {count} layer{'' if count == 1 else 's'} with depth mixing"]
        lines += _grouped(self.layers)
        lines.append(
            f"weights: {len(weights.inflated)} inflated, {len(weights.copied)} copied, "
            f"{len(weights.resized)} resized, {len(weights.new)} new"
        )
        lines += [f"  {self.origin}"] if self.origin else []
        lines += [f"  resized {name}: {old} to {new}" for name, (old, new) in weights.resized.items()]
        for claim in self.claims:
            verdict = f"not claimed, {claim.reason}"
            if claim.claimed:
                verdict = "claimed, holds" if claim.holds else "claimed, BROKEN"
            lines.append(f"{claim.law}: {verdict} ({claim.measured})")
        lines += list(self.notes)
        size = " x ".join(map(str, self.volume))
        lines.append(f"checked on a volume of {size} in {self.seconds:.2f} s")
        return "\n".join(lines)


def _grouped(layers: tuple[MixingLayer, ...]) -> list[str]:
    """Return one line for each description, with a few names."""
    names_of: dict[str, list[str]] = {}
    for layer in layers:
        names_of.setdefault(layer.description, []).append(layer.name)
    return [f"  {description}: {len(names)} ({some_names(names)})" for description, names in names_of.items()]


def some_names(names: Iterable[str]) -> str:
    """Return the first three names as text."""
    found = list(names)
    return ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
