"""What is borrowed from which network: everything a feature map depends on besides the image."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dimlift.errors import ConfigError, UnknownName

Plane = Literal["depth", "height", "width"]
PLANES: tuple[Plane, ...] = ("depth", "height", "width")


@dataclass(frozen=True)
class BorrowSettings:
    """How features are taken from a volume.

    Attributes:
        network: "packaged:efficientnet_lite0" or any source a lift takes; "random" or "random:SOURCE" for the same
            network with random weights; "filters" for a bank of Gaussian derivatives. The last two are controls.
        stages: which maps of the network, finest first (0 is the first `features_only` map); None takes all
            but the first of a network, which holds little more than edges, and all of the filters.
        planes: slices are cut across these axes.
        enlarge: slices are enlarged by this factor first, and made isotropic; photographs show things larger than
            scans do.
        cache_channels: channels kept of each map, by a fixed random projection.
        channels: channels of the volume that are shown: one (as grey) or three (as red, green, blue). None shows all,
            where that is one or three.
        percentiles: intensities of each volume are scaled so that these percentiles become 0 and 1.
        seed: of the random network's weights and of the fixed projection.
        weights: a weights file for the network, instead of those its source brings.
        maps: stages or blocks of the network that hand out maps, of which `stages` counts; None is the source's choice.
        download: allow the source to fetch its weights if they are not on this machine.
    """

    network: str = "packaged:efficientnet_lite0"
    stages: tuple[int, ...] | None = None
    planes: tuple[Plane, ...] = ("depth",)
    enlarge: float = 3.0
    cache_channels: int = 32
    channels: tuple[int, ...] | None = None
    percentiles: tuple[float, float] = (0.5, 99.5)
    seed: int = 0
    weights: str | None = None
    maps: tuple[int, ...] | None = None
    download: bool = False

    def __post_init__(self) -> None:
        for plane in self.planes:
            if plane not in PLANES:
                raise UnknownName("plane", plane, PLANES)
        if not self.planes or len(set(self.planes)) < len(self.planes):
            raise ConfigError(f"planes must name one to three different axes, got {self.planes}")
        if self.enlarge <= 0:
            raise ConfigError(f"enlarge must be above 0, got {self.enlarge}; 1 leaves slices as large as they are")
        if self.cache_channels < 1:
            raise ConfigError(f"cache_channels must be at least 1, got {self.cache_channels}")
        if self.stages is not None and (not self.stages or len(set(self.stages)) < len(self.stages)):
            raise ConfigError(f"stages must name one or more different maps, got {self.stages}")
        if self.channels is not None and len(self.channels) not in (1, 3):
            raise ConfigError(f"a 2D network is shown one channel or three, got channels={self.channels}")
        if not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise ConfigError(f"percentiles must rise within 0 to 100, got {self.percentiles}")

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return json.loads(json.dumps(asdict(self)))

    def decisive(self) -> dict[str, Any]:
        """What features depend on: all but where weights come from, which are known by their values."""
        found = {name: v for name, v in self.to_json().items() if name not in ("weights", "download", "network")}
        return found if self.maps is not None else {name: v for name, v in found.items() if name != "maps"}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "BorrowSettings":
        """Read back what `to_json` gave."""
        found: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**found)
