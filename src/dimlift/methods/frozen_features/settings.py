"""Settings of feature extraction: everything a feature map depends on besides the image."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dimlift.errors import ConfigError, UnknownNameError

Plane = Literal["depth", "height", "width"]
PLANES: tuple[Plane, ...] = ("depth", "height", "width")


@dataclass(frozen=True)
class FeatureExtractionSettings:
    """How features are extracted from a volume.

    Attributes:
        network: "packaged:efficientnet_lite0" or any source that `lift` accepts; "random" or "random:SOURCE" for the
            same network with random weights; "filters" for a bank of Gaussian derivatives. The last two are controls.
        stages: maps of the network that are used, finest first (0 is the first `features_only` map); None uses all but
            the first map of a network, which contains little more than edges, and all of the filters.
        planes: axes across which slices are cut.
        upsample: upsampling factor of the slices, which are made isotropic; structures are larger in natural images
            than in scans.
        cache_channels: channels kept of each map, by a fixed random projection.
        input_channels: channels of the volume that are used: one (grey) or three (RGB). None uses all, if there are
            one or three.
        percentiles: percentiles of the intensities of each volume that are scaled to 0 and 1.
        seed: seed of the weights of a random network and of the fixed projection.
        weights: weights file of the network, instead of its own.
        out_indices: stages or blocks of the network that return maps, numbered by `stages`; None is the default of the
            source.
        download: allow the source to download its weights.
    """

    network: str = "packaged:efficientnet_lite0"
    stages: tuple[int, ...] | None = None
    planes: tuple[Plane, ...] = ("depth",)
    upsample: float = 3.0
    cache_channels: int = 32
    input_channels: tuple[int, ...] | None = None
    percentiles: tuple[float, float] = (0.5, 99.5)
    seed: int = 0
    weights: str | None = None
    out_indices: tuple[int, ...] | None = None
    download: bool = False

    def __post_init__(self) -> None:
        for plane in self.planes:
            if plane not in PLANES:
                raise UnknownNameError("plane", plane, PLANES)
        if not self.planes or len(set(self.planes)) < len(self.planes):
            raise ConfigError(f"planes must list one to three different axes, got {self.planes}")
        if self.upsample <= 0:
            raise ConfigError(f"upsample must be above 0, got {self.upsample}; 1 keeps the size of slices")
        if self.cache_channels < 1:
            raise ConfigError(f"cache_channels must be at least 1, got {self.cache_channels}")
        if self.stages is not None and (not self.stages or len(set(self.stages)) < len(self.stages)):
            raise ConfigError(f"stages must list one or more different maps, got {self.stages}")
        if self.input_channels is not None and len(self.input_channels) not in (1, 3):
            raise ConfigError(
                f"a 2D network takes one channel or three, got input_channels={self.input_channels}; list one or three"
            )
        if not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise ConfigError(f"percentiles must increase within 0 to 100, got {self.percentiles}")

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain JSON."""
        return json.loads(json.dumps(asdict(self)))

    def hashed_settings(self) -> dict[str, Any]:
        """Return the settings that features depend on: all but the origin of the weights, which are hashed by value."""
        return {name: v for name, v in self.to_json().items() if name not in ("weights", "download", "network")}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "FeatureExtractionSettings":
        """Return the settings written by `to_json`."""
        options: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**options)
