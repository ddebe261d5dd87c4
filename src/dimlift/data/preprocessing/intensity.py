"""Intensity normalisation: one rule per channel, fitted on the training cases and stored with the weights.

Schemes as in nnU-Net (Isensee et al., 2021, https://doi.org/10.1038/s41592-020-01008-z): CT intensities have physical
units, so all volumes share the clipping and scaling of the training set; other intensities have none, so each volume is
scaled by its own statistics.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dimlift.data.chunks import depth_chunks
from dimlift.errors import DataError, UnknownNameError

Scheme = Literal["zscore", "zscore_foreground", "ct", "none"]
ImageModality = Literal["auto", "ct", "mr", "mr_foreground", "none"]

_BY_MODALITY: dict[str, Scheme] = {"ct": "ct", "mr": "zscore", "mr_foreground": "zscore_foreground", "none": "none"}
_BY_CHANNEL: dict[str, Scheme] = {"ct": "ct", "nonorm": "none"}
_MIN_STD = 1e-8


@dataclass(frozen=True)
class IntensityNormalisation:
    """Normalisation of one channel.

    Attributes:
        scheme: "zscore" subtracts the mean of each image and divides by its standard deviation; "zscore_foreground"
            computes both over nonzero voxels and leaves the others 0; "ct" clips to [low, high] and uses mean and std
            of the training set; "none" changes nothing.
        low, high: 0.5th and 99.5th percentile of foreground voxels in the training set (CT).
        mean, std: of the same voxels (CT).
    """

    scheme: Scheme = "zscore"
    low: float = 0.0
    high: float = 0.0
    mean: float = 0.0
    std: float = 1.0

    def apply(
        self,
        image: NDArray[np.float32],
        mask: NDArray[np.bool_] | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Normalise one channel of any shape.

        Args:
            image: the channel.
            mask: voxels that mean and standard deviation are computed over; None for all.
            out: array for the result, which may be the image itself; None for a new array.
        """
        if self.scheme == "none" and out is None:
            return image
        result = np.empty_like(image) if out is None else out
        mean, std, low, high = self.mean, self.std, self.low, self.high
        if self.scheme in ("zscore", "zscore_foreground"):
            mean, std = self._moments(image, mask)
            low, high = -np.inf, np.inf
        for part in depth_chunks(image.shape):
            if self.scheme == "none":
                result[part] = image[part]
                continue
            scaled = np.clip(image[part], low, high, dtype=np.float64) - mean
            scaled /= max(std, _MIN_STD)
            result[part] = scaled if self.scheme != "zscore_foreground" else np.where(image[part] != 0, scaled, 0)
        return result

    def _moments(self, image: NDArray[np.float32], mask: NDArray[np.bool_] | None) -> tuple[float, float]:
        """Return mean and standard deviation of the selected voxels in float64; (0, inf) if there are none."""

        def voxels(part: slice) -> NDArray[np.float64]:
            inside = image[part]
            if self.scheme == "zscore_foreground":
                inside = inside[(inside != 0) if mask is None else (inside != 0) & mask[part]]
            elif mask is not None:
                inside = inside[mask[part]]
            return inside.astype(np.float64)

        parts = list(depth_chunks(image.shape))
        counts, sums = zip(*((chunk.size, chunk.sum()) for chunk in map(voxels, parts)), strict=True)
        count = sum(counts)
        if not count:
            return 0.0, np.inf
        mean = float(sum(sums)) / count
        squares = sum(float(((voxels(part) - mean) ** 2).sum()) for part in parts)
        return mean, float(np.sqrt(squares / count))

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        statistics = (
            {"low": self.low, "high": self.high, "mean": self.mean, "std": self.std} if self.scheme == "ct" else {}
        )
        return {"scheme": self.scheme, **statistics}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "IntensityNormalisation":
        """Return the object that `to_json` was called on."""
        if content.get("scheme") not in get_args(Scheme):
            raise UnknownNameError("normalisation scheme", str(content.get("scheme")), get_args(Scheme))
        return cls(**content)


def ct_window_rules(windows: Sequence[tuple[float, float]]) -> tuple[IntensityNormalisation, ...]:
    """Return one rule per CT window, each scaled to [-1, 1].

    Args:
        windows: (centre, width) in Hounsfield units.

    Raises:
        DataError: if a width is not positive.
    """
    if any(width <= 0 for _, width in windows):
        raise DataError(f"CT windows {list(windows)} must have positive widths: [centre, width], for example [40, 400]")
    return tuple(
        IntensityNormalisation("ct", centre - width / 2, centre + width / 2, centre, width / 2)
        for centre, width in windows
    )


def choose_scheme(channel: str, modality: str = "auto") -> Scheme:
    """Return the scheme of a channel: by modality, or for "auto" by channel name ("CT", else z-score)."""
    if modality == "auto":
        return _BY_CHANNEL.get(channel.strip().lower(), "zscore")
    if modality not in _BY_MODALITY:
        raise UnknownNameError("modality", modality, get_args(ImageModality))
    return _BY_MODALITY[modality]


def fit_ct_normalisation(voxels: Iterable[NDArray[Any]]) -> IntensityNormalisation:
    """Compute CT clipping and scaling from foreground voxels of the training set.

    Args:
        voxels: Hounsfield units of sampled voxels of each case.

    Raises:
        DataError: if there is no voxel.
    """
    parts = [part for part in voxels if part.size]
    if not parts:
        raise DataError("the training cases have no foreground voxel to fit CT normalisation on; check the masks")
    everything = np.concatenate(parts).astype(np.float64)
    low, high = np.percentile(everything, [0.5, 99.5])
    return IntensityNormalisation("ct", float(low), float(high), float(everything.mean()), float(everything.std()))
