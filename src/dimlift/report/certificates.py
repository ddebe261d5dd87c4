"""The certificates of lifted arms: a sentence, the depth plan drawn, where weights come from, and the whole text."""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from dimlift.records.study import Study
from dimlift.report.depth_plan import draw_depth_plan
from dimlift.report.provenance import provenance_words


@dataclass(frozen=True)
class CertificateView:
    """What the page shows of one certificate.

    Attributes:
        holds: whether every claim was measured to hold; None if the certificate does not say.
        summary: one sentence.
        drawing: the depth plan, where the certificate holds its stages.
        provenance: where the weights come from, as terms and what is known of each.
        text: everything, for whoever opens it.
    """

    title: str
    holds: bool | None
    summary: str
    drawing: Markup | None
    provenance: list[tuple[str, str]]
    text: str


def certificates(study: Study) -> list[CertificateView]:
    """One view for each arm with a certificate, in the order of the study."""
    views = []
    for name, arm in study.arms.items():
        found, title = arm.certificate, arm.title or name
        if found:
            drawing = draw_depth_plan(found, title)
            origin = provenance_words(arm.provenance)
            views.append(CertificateView(title, _holds(found), _summary(found), drawing, origin, _text(found)))
    return views


def _holds(content: Mapping[str, Any]) -> bool | None:
    found = content.get("holds")
    return found if isinstance(found, bool) else None


def _summary(content: Mapping[str, Any]) -> str:
    if isinstance(content.get("summary"), str):
        return str(content["summary"])
    parts = []
    if isinstance(content.get("layers"), list):
        places = len(content["layers"])
        parts.append(f"slices talk in {places} place{'' if places == 1 else 's'}")
    if isinstance(content.get("weights"), Mapping):
        counts = [f"{len(keys)} {kind}" for kind, keys in content["weights"].items() if hasattr(keys, "__len__")]
        parts.append(f"weights: {', '.join(counts)}")
    parts += [_claim(claim) for claim in content.get("claims") or () if isinstance(claim, Mapping)]
    return "; ".join(parts) if parts else "no summary was written; the whole certificate is below"


def _claim(claim: Mapping[str, Any]) -> str:
    error = claim.get("error")
    measured = f"measured error {error:.1e}" if isinstance(error, int | float) else "not measured"
    if not claim.get("claimed"):
        return f"law of {claim.get('law')}: not claimed ({measured})"
    return f"law of {claim.get('law')}: {'holds' if claim.get('holds') else 'BROKEN'} ({measured})"


def _text(content: Mapping[str, Any]) -> str:
    if isinstance(content.get("text"), str):
        return str(content["text"])
    lines = []
    rest = dict(content)
    layers = rest.pop("layers", None)
    if isinstance(layers, list) and all(isinstance(layer, Mapping) for layer in layers):
        ways: dict[str, list[str]] = defaultdict(list)
        for layer in layers:
            ways[str(layer.get("how"))].append(str(layer.get("name")))
        for way, names in ways.items():
            lines += [f"{way} ({len(names)}):", *(f"  {name}" for name in names)]
    else:
        rest = dict(content)
    return "\n".join([*lines, json.dumps(rest, indent=1, ensure_ascii=False)])
