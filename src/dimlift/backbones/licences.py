"""Licences and gating of known families of weights."""

import re
from typing import NamedTuple


class LicenceTerms(NamedTuple):
    """What is known of a family of weights.

    Attributes:
        licence: short name; None if it is not known.
        gated: what has to be accepted before the weights are available, and by whom; None if nothing has.
    """

    licence: str | None = None
    gated: str | None = None


FAMILIES: tuple[tuple[str, LicenceTerms], ...] = (
    (
        r"facebook/dinov3|dinov3_[a-z0-9]+_pretrain",
        LicenceTerms("dinov3-license", "Meta requires its DINOv3 licence to be accepted"),
    ),
    (r"dinov3", LicenceTerms("dinov3-license")),  # timm's copies, and networks trained from it (MedDINOv3)
    (
        r"mahmoodlab/(?:uni|conch)",
        LicenceTerms("cc-by-nc-nd-4.0", "Mahmood Lab provides them on request, for research only"),
    ),
    (r"paige-ai/virchow", LicenceTerms(None, "Paige requires its terms to be accepted")),
)
"""By a pattern of the name; the first match counts. A licence stated by the source takes precedence."""


def licence_of(*names: str | None) -> LicenceTerms:
    """Return the terms of the first family that one of these names (of a network, repository or file) belongs to."""
    lower = [name.lower() for name in names if name]
    found = (terms for pattern, terms in FAMILIES if any(re.search(pattern, name) for name in lower))
    return next(found, LicenceTerms())
