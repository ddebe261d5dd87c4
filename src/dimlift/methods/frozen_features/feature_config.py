"""What is borrowed of a frozen 2D network, as keys of a configuration."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from dimlift.config.sections import PositiveFloat, Section

if TYPE_CHECKING:
    from dimlift.methods.frozen_features.extraction import Extractor


class Borrowing(Section):
    """The 2D network, and which of its features are taken from slices."""

    network: str = Field(
        default="packaged:efficientnet_lite0",
        description="2D network, `SOURCE:NAME`; `random` or `random:SOURCE:NAME` for one with random weights, "
        "`filters` for a bank of Gaussian derivatives.",
    )
    weights: str | None = Field(default=None, description="File with weights of the 2D network, instead of its own.")
    stages: tuple[int, ...] | None = Field(
        default=(0, 1, 2, 3), description="Maps of the network that are used, 0 is the finest; null takes all."
    )
    maps: tuple[int, ...] | None = Field(
        default=None,
        description="Blocks or stages of the network that hand out maps, of which `stages` counts; the source's own "
        "choice if not set. For a vision transformer of 12 blocks: `[2, 5, 8, 11]`.",
    )
    planes: tuple[Literal["depth", "height", "width"], ...] = Field(
        default=("depth", "height", "width"), description="Axes across which slices are cut."
    )
    enlarge: PositiveFloat = Field(default=3.0, description="Slices are made isotropic and enlarged by this factor.")
    cache_channels: int = Field(default=64, ge=1, description="Channels of each map that are kept in the cache.")
    shown: tuple[int, ...] | None = Field(
        default=None, description="Channels of the volume the 2D network is shown, one or three; null shows all."
    )

    def extractor(self, seed: int) -> "Extractor":
        """The frozen network, ready to look at volumes; a random one is drawn by `seed`."""
        from dimlift.methods.frozen_features.extraction import Extractor
        from dimlift.methods.frozen_features.settings import BorrowSettings

        settings = BorrowSettings(
            network=self.network,
            stages=None if self.network == "filters" else self.stages,
            planes=self.planes,
            enlarge=self.enlarge,
            cache_channels=self.cache_channels,
            channels=self.shown,
            seed=seed if self.network.startswith("random") else 0,
            weights=self.weights,
            maps=self.maps,
        )
        return Extractor(settings)
