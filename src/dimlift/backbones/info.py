"""What is known of a 2D network beside the network."""

from dataclasses import asdict, dataclass, field
from typing import Any

from dimlift.backbones.load_report import Reading

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class SourceInfo:
    """Where a 2D network comes from.

    Attributes:
        name: "timm:resnet18", "packaged:efficientnet_lite0", ... enough to open it again; None for a live module.
        licence: of the weights, as far as the source or the user states it; None if nobody does.
        mean, std: what training images were normalised with, one number a channel, on the scale from 0 to 1.
        size: (height, width) the network was trained or built for.
        weights: where the numbers come from: "random", "pretrained", or a file name.
        sha256: of the file the numbers came from.
        gated: what had to be accepted to get the weights; None where nothing had, as far as is known.
        reading: what became of that file's tensors.
    """

    name: str | None
    licence: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: tuple[int, int] | None = None
    weights: str = "random"
    sha256: str | None = None
    gated: str | None = None
    reading: Reading = field(default_factory=Reading)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "name": self.name,
            "licence": self.licence,
            "gated": self.gated,
            "mean": self.mean,
            "std": self.std,
            "weights": self.weights,
            "sha256": self.sha256,
            **asdict(self.reading),
        }

    def __str__(self) -> str:
        """Where the numbers come from and under what terms, in one line."""
        if self.weights == "random":
            return "numbers drawn at random"
        told = [f"numbers from {self.weights}"]
        if self.sha256 is not None:
            told.append(f"sha256 {self.sha256[:12]}")
        told.append(f"licence {self.licence or 'not stated'}")
        if self.gated:
            told.append(f"gated ({self.gated})")
        return "; ".join([*told, *filter(None, [str(self.reading)])])
