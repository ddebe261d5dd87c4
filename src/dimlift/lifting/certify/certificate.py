"""The certificate of a lift: what talks, where the weights came from, what is claimed, and what was measured."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from dimlift.lifting.certify.weight_report import WeightsReport


@dataclass(frozen=True)
class Layer:
    """One thing that lets slices talk."""

    name: str
    how: str


@dataclass(frozen=True)
class Claim:
    """One law, tried on a small input.

    Attributes:
        law: "slices" (every slice answers as in 2D) or "constancy" (a repeated slice answers as in 2D).
        claimed: whether the plan promises it.
        reason: why it is not promised; empty if it is.
        error: largest deviation from the 2D answer, relative to the largest 2D answer; None if it could not be tried.
        tolerance: what a claimed error may be.
    """

    law: str
    claimed: bool
    reason: str
    error: float | None
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether what is claimed was measured; a law that is not claimed cannot be broken."""
        return not self.claimed or (self.error is not None and self.error <= self.tolerance)


@dataclass(frozen=True)
class Certificate:
    """What was checked when a network was lifted."""

    source: str | None
    layers: tuple[Layer, ...]
    weights: WeightsReport
    claims: tuple[Claim, ...]
    volume: tuple[int, ...]
    seconds: float
    notes: tuple[str, ...] = field(default=())
    origin: str = ""
    """Where the weights come from and under what terms, in one line."""

    @property
    def holds(self) -> bool:
        """Whether every claimed law was measured to hold."""
        return all(claim.holds for claim in self.claims)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "source": self.source,
            "holds": self.holds,
            "layers": [{"name": layer.name, "how": layer.how} for layer in self.layers],
            "weights": self.weights.to_json(),
            "claims": [
                {
                    "law": claim.law,
                    "claimed": claim.claimed,
                    "reason": claim.reason,
                    "error": claim.error,
                    "tolerance": claim.tolerance,
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
        lines = [f"lifted {self.source or 'network'}: {count} place{'' if count == 1 else 's'} where slices talk"]
        lines += _grouped(self.layers)
        lines.append(
            f"weights: {len(weights.inflated)} inflated, {len(weights.copied)} copied, "
            f"{len(weights.resized)} resized, {len(weights.new)} new"
        )
        lines += [f"  {self.origin}"] if self.origin else []
        lines += [f"  resized {name}: {old} to {new}" for name, (old, new) in weights.resized.items()]
        for claim in self.claims:
            error = "not tried" if claim.error is None else f"error {claim.error:.1e}"
            if claim.claimed:
                verdict = "holds" if claim.holds else "BROKEN"
                lines.append(f"{claim.law}: claimed, {verdict} ({error}, allowed {claim.tolerance:.0e})")
            else:
                lines.append(f"{claim.law}: not claimed, {claim.reason} ({error})")
        lines += list(self.notes)
        size = " x ".join(map(str, self.volume))
        lines.append(f"checked on a volume of {size} in {self.seconds:.2f} s")
        return "\n".join(lines)


def _grouped(layers: tuple[Layer, ...]) -> list[str]:
    """One line for each way of talking, with a few names."""
    ways: dict[str, list[str]] = {}
    for layer in layers:
        ways.setdefault(layer.how, []).append(layer.name)
    lines = []
    for how, names in ways.items():
        lines.append(f"  {how}: {len(names)} ({some_names(names)})")
    return lines


def some_names(names: Iterable[str]) -> str:
    """The first few of many names."""
    named = list(names)
    return ", ".join(named[:3]) + (", ..." if len(named) > 3 else "")
