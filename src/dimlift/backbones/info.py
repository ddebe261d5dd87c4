"""BackboneInfo: where a 2D network comes from."""

from dataclasses import asdict, dataclass, field
from typing import Any

from dimlift.backbones.load_report import LoadReport

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class BackboneInfo:
    """Origin of a 2D network and its weights.

    Attributes:
        name: "timm:resnet18", "packaged:efficientnet_lite0", ... with which it can be created again; None for a live
            module.
        licence: of the weights, as stated by the source or the user; None if neither does.
        mean: of the training images, one number per channel, on the scale from 0 to 1.
        std: of the training images, likewise.
        size: (height, width) the network was trained or built for.
        weights: origin of the weights: "random", "pretrained", or a file name.
        sha256: of the weights file.
        gated: what has to be accepted to get the weights; None if nothing is known to be required.
        load_report: what became of the tensors of the weights file.
    """

    name: str | None
    licence: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: tuple[int, int] | None = None
    weights: str = "random"
    sha256: str | None = None
    gated: str | None = None
    load_report: LoadReport = field(default_factory=LoadReport)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "name": self.name,
            "licence": self.licence,
            "gated": self.gated,
            "mean": self.mean,
            "std": self.std,
            "weights": self.weights,
            "sha256": self.sha256,
            **asdict(self.load_report),
        }

    def __str__(self) -> str:
        """Origin and terms of the weights, in one line."""
        if self.weights == "random":
            return "random weights"
        parts = [f"weights from {self.weights}"]
        if self.sha256 is not None:
            parts.append(f"sha256 {self.sha256[:12]}")
        parts.append(f"licence {self.licence or 'not stated'}")
        if self.gated:
            parts.append(f"gated ({self.gated})")
        return "; ".join([*parts, *filter(None, [str(self.load_report)])])
