"""What is known of a 2D network beside the network."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SourceInfo:
    """Where a 2D network comes from.

    Attributes:
        name: "timm:resnet18", "packaged:efficientnet_lite0", ... enough to open it again; None for a live module.
        licence: of the weights, as far as the source states it; None if it does not.
        mean, std: what training images were normalised with, one number a channel, on the scale from 0 to 1.
        size: (height, width) the network was trained or built for.
        weights: where the numbers come from: "random", "pretrained", or a file name.
    """

    name: str | None
    licence: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: tuple[int, int] | None = None
    weights: str = "random"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"name": self.name, "licence": self.licence, "mean": self.mean, "std": self.std, "weights": self.weights}
