"""Configuration keys of feature extraction with a frozen 2D network."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from dimlift.config.sections import PositiveFloat, Section

if TYPE_CHECKING:
    from dimlift.methods.frozen_features.extraction import FeatureExtractor


class FeatureExtractionConfig(Section):
    """The 2D network, and which features are extracted from slices."""

    network: str = Field(
        default="packaged:efficientnet_lite0",
        description="2D network, `SOURCE:NAME`; `random` or `random:SOURCE:NAME` for random weights, `filters` for a "
        "bank of Gaussian derivatives.",
    )
    weights: str | None = Field(default=None, description="Weights file of the 2D network, instead of its own.")
    stages: tuple[int, ...] | None = Field(
        default=(0, 1, 2, 3), description="Maps of the network that are used, 0 is the finest; null uses all."
    )
    out_indices: tuple[int, ...] | None = Field(
        default=None,
        description="Blocks or stages of the network that return maps, numbered by `stages`; the default of the source "
        "if not set. For a vision transformer of 12 blocks: `[2, 5, 8, 11]`.",
    )
    planes: tuple[Literal["depth", "height", "width"], ...] = Field(
        default=("depth", "height", "width"), description="Axes across which slices are cut."
    )
    upsample: PositiveFloat = Field(default=3.0, description="Upsampling factor of the slices, made isotropic.")
    cache_channels: int = Field(default=64, ge=1, description="Channels of each map that are kept in the cache.")
    input_channels: tuple[int, ...] | None = Field(
        default=None, description="Channels of the volume passed to the 2D network, one or three; null passes all."
    )

    def extractor(self, seed: int) -> "FeatureExtractor":
        """Return the feature extractor; random networks are initialised with `seed`."""
        from dimlift.methods.frozen_features.extraction import FeatureExtractor
        from dimlift.methods.frozen_features.settings import FeatureExtractionSettings

        settings = FeatureExtractionSettings(
            network=self.network,
            stages=None if self.network == "filters" else self.stages,
            planes=self.planes,
            upsample=self.upsample,
            cache_channels=self.cache_channels,
            input_channels=self.input_channels,
            seed=seed if self.network.startswith("random") else 0,
            weights=self.weights,
            out_indices=self.out_indices,
        )
        return FeatureExtractor(settings)
