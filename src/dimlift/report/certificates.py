"""Certificates of lifted arms: a summary, a drawing of the depth plan, provenance of the weights, and the full text."""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from dimlift.records.study import Study
from dimlift.report.depth_plan import draw_depth_plan
from dimlift.report.phrases import plural
from dimlift.report.provenance import describe_provenance


@dataclass(frozen=True)
class CertificateView:
    """A certificate as shown on the page.

    Attributes:
        holds: whether every claimed law was measured to hold; None if the certificate does not state it.
        summary: one sentence.
        drawing: the depth plan, if the certificate contains its stages.
        provenance: terms and values about the initial weights.
        text: the full certificate.
    """

    title: str
    holds: bool | None
    summary: str
    drawing: Markup | None
    provenance: list[tuple[str, str]]
    text: str


def certificate_views(study: Study) -> list[CertificateView]:
    """Return one view per arm with a certificate, in the order of the study."""
    views = []
    for name, arm in study.arms.items():
        certificate, title = arm.certificate, arm.title or name
        if certificate:
            drawing, provenance = draw_depth_plan(certificate, title), describe_provenance(arm.provenance)
            holds, summary = _holds(certificate), _summary(certificate)
            views.append(CertificateView(title, holds, summary, drawing, provenance, _text(certificate)))
    return views


def _holds(certificate: Mapping[str, Any]) -> bool | None:
    holds = certificate.get("holds")
    return holds if isinstance(holds, bool) else None


def _summary(certificate: Mapping[str, Any]) -> str:
    if isinstance(certificate.get("summary"), str):
        return str(certificate["summary"])
    parts = []
    if isinstance(certificate.get("layers"), list):
        parts.append(f"depth mixing in {plural(len(certificate['layers']), 'layer')}")
    if isinstance(certificate.get("weights"), Mapping):
        counts = [f"{len(keys)} {kind}" for kind, keys in certificate["weights"].items() if hasattr(keys, "__len__")]
        parts.append(f"weights: {', '.join(counts)}")
    parts += [_describe_claim(claim) for claim in certificate.get("claims") or () if isinstance(claim, Mapping)]
    return "; ".join(parts) if parts else "no summary was recorded; the full certificate is below"


def _describe_claim(claim: Mapping[str, Any]) -> str:
    error = claim.get("error")
    measured = f"measured error {error:.1e}" if isinstance(error, int | float) else "not measured"
    if not claim.get("claimed"):
        return f"law of {claim.get('law')}: not claimed ({measured})"
    return f"law of {claim.get('law')}: {'holds' if claim.get('holds') else 'BROKEN'} ({measured})"


def _text(certificate: Mapping[str, Any]) -> str:
    if isinstance(certificate.get("text"), str):
        return str(certificate["text"])
    lines = []
    content = dict(certificate)
    layers = content.get("layers")
    if isinstance(layers, list) and all(isinstance(layer, Mapping) for layer in layers):
        del content["layers"]
        names_of: dict[str, list[str]] = defaultdict(list)
        for layer in layers:
            names_of[str(layer.get("description"))].append(str(layer.get("name")))
        for description, names in names_of.items():
            lines += [f"{description} ({len(names)}):", *(f"  {name}" for name in names)]
    return "\n".join([*lines, json.dumps(content, indent=1, ensure_ascii=False)])
