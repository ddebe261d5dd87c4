"""Under what terms known families of weights may be used, and which have to be asked for."""

import re
from typing import NamedTuple


class Terms(NamedTuple):
    """What is known of a family of weights.

    Attributes:
        licence: short name; None where it is not known.
        gated: what has to be accepted first, and where; None where nothing has.
    """

    licence: str | None = None
    gated: str | None = None


FAMILIES: tuple[tuple[str, Terms], ...] = (
    (
        r"facebook/dinov3|dinov3_[a-z0-9]+_pretrain",
        Terms("dinov3-license", "Meta has its DINOv3 licence accepted first"),
    ),
    (r"dinov3", Terms("dinov3-license")),  # timm's copies, and what was trained from it (MedDINOv3)
    (r"mahmoodlab/(?:uni|conch)", Terms("cc-by-nc-nd-4.0", "Mahmood Lab hands them out on request, for research only")),
    (r"paige-ai/virchow", Terms(None, "Paige has its terms accepted first")),
)
"""By a pattern of the name; the first that fits counts. What a source says itself of a licence goes before this."""


def terms_of(*names: str | None) -> Terms:
    """Terms of the first family one of these names (of a network, repository or file) belongs to."""
    named = [name.lower() for name in names if name]
    return next((terms for pattern, terms in FAMILIES if any(re.search(pattern, name) for name in named)), Terms())
