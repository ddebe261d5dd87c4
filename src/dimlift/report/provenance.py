"""Where the weights of an arm come from and under what terms, in words."""

from collections.abc import Mapping, Sequence
from typing import Any


def provenance_words(origin: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Terms and what is known of each; none where nothing was written down.

    Args:
        origin: `provenance` of a weights folder's card. Cards of earlier versions hold less.
    """
    if not origin:
        return []
    words = [("network", str(origin.get("name") or "given as a live module"))]
    if origin.get("weights") == "random":
        return [*words, ("weights", "drawn at random")]
    words.append(("weights", str(origin.get("weights") or "not stated")))
    if origin.get("sha256"):
        words.append(("SHA-256 of the file", str(origin["sha256"])))
    words.append(("licence", str(origin.get("licence") or "not stated")))
    words.append(("gating", str(origin.get("gated") or "nothing that had to be accepted, as far as is known")))
    if keys := _keys(origin):
        words.append(("keys", keys))
    resized = origin.get("resized") or {}
    words += [
        ("resized", "; ".join(f"{key} from {_shape(old)} to {_shape(new)}" for key, (old, new) in resized.items()))
    ]
    return [(term, known) for term, known in words if known]


def _keys(origin: Mapping[str, Any]) -> str:
    """How the file's tensors found their places, and which had none."""
    filled, tensors = origin.get("filled"), origin.get("tensors")
    told = []
    if filled is not None:
        told.append(f"{filled} of the network's {tensors} tensors are from the file")
        if filled != tensors:
            told.append("the others follow from its architecture")
    told += [f"the file's names are as {origin['naming']}"] if origin.get("naming") else []
    told += [f"found under {origin['prefix']}"] if origin.get("prefix") else []
    told += [f"in the file, but not wanted: {', '.join(origin['dropped'])}"] if origin.get("dropped") else []
    return "; ".join(told)


def _shape(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))
