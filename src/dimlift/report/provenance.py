"""Provenance of an arm's initial weights in words."""

from collections.abc import Mapping, Sequence
from typing import Any


def describe_provenance(provenance: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Return terms and their values; an empty list if no provenance was recorded.

    Args:
        provenance: `provenance` of a weights card.
    """
    if not provenance:
        return []
    network = ("network", str(provenance.get("name") or "passed as a module"))
    if provenance.get("weights") == "random":
        return [network, ("weights", "random")]
    terms = [
        network,
        ("weights", str(provenance.get("weights") or "not stated")),
        ("SHA-256 of the file", str(provenance.get("sha256") or "")),
        ("licence", str(provenance.get("licence") or "not stated")),
        ("gating", str(provenance.get("gated") or "none known")),
        ("keys", _describe_keys(provenance)),
        ("resized", _describe_resized(provenance.get("resized") or {})),
    ]
    return [(term, value) for term, value in terms if value]


def _describe_keys(provenance: Mapping[str, Any]) -> str:
    """Describe how the tensors of the file were assigned, and which were not."""
    filled, tensors = provenance.get("filled"), provenance.get("tensors")
    parts = []
    if filled is not None:
        parts.append(f"{filled} of the network's {tensors} tensors are from the file")
        if filled != tensors:
            parts.append("the others follow from its architecture")
    parts += [f"key naming: {provenance['naming']}"] if provenance.get("naming") else []
    parts += [f"found under {provenance['prefix']}"] if provenance.get("prefix") else []
    parts += [f"in the file but not used: {', '.join(provenance['dropped'])}"] if provenance.get("dropped") else []
    return "; ".join(parts)


def _describe_resized(resized: Mapping[str, Any]) -> str:
    return "; ".join(f"{key} from {_format_shape(old)} to {_format_shape(new)}" for key, (old, new) in resized.items())


def _format_shape(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))
