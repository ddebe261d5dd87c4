"""Intensities to numbers a network likes, one rule per channel, fixed at fit time and stored with the weights.

Rules as in nnU-Net (Isensee et al., 2021, https://doi.org/10.1038/s41592-020-01008-z): CT has physical units, so every
volume gets the same clipping and scaling, taken from the training set; other images have none, so each is scaled by
itself.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dimlift.data.chunks import slabs
from dimlift.errors import DataError, UnknownName

Kind = Literal["zscore", "zscore_nonzero", "ct", "none"]
Modality = Literal["auto", "ct", "mr", "mr_nonzero", "none"]

_BY_MODALITY: dict[str, Kind] = {"ct": "ct", "mr": "zscore", "mr_nonzero": "zscore_nonzero", "none": "none"}
_BY_CHANNEL: dict[str, Kind] = {"ct": "ct", "nonorm": "none"}
_SMALLEST_STD = 1e-8


@dataclass(frozen=True)
class Normalisation:
    """What is done to one channel.

    Attributes:
        kind: "zscore" subtracts each image's mean and divides by its standard deviation, "zscore_nonzero" takes
            both from voxels that are not 0 and leaves the others 0, "ct" clips to [low, high] and uses the
            training set's mean and std, "none" changes nothing.
        low, high: 0.5th and 99.5th percentile of foreground voxels over the training set (CT).
        mean, std: of the same voxels (CT).
    """

    kind: Kind = "zscore"
    low: float = 0.0
    high: float = 0.0
    mean: float = 0.0
    std: float = 1.0

    def apply(
        self,
        image: NDArray[np.float32],
        use: NDArray[np.bool_] | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Normalise one channel, any shape.

        Args:
            use: where mean and standard deviation may be taken from; None means everywhere.
            out: takes the result, may be the image itself; a new array if None.
        """
        if self.kind == "none" and out is None:
            return image
        result = np.empty_like(image) if out is None else out
        mean, std, low, high = self.mean, self.std, self.low, self.high
        if self.kind in ("zscore", "zscore_nonzero"):
            mean, std = self._moments(image, use)
            low, high = -np.inf, np.inf
        for part in slabs(image.shape):
            if self.kind == "none":
                result[part] = image[part]
                continue
            scaled = np.clip(image[part], low, high, dtype=np.float64) - mean
            scaled /= max(std, _SMALLEST_STD)
            result[part] = scaled if self.kind != "zscore_nonzero" else np.where(image[part] != 0, scaled, 0)
        return result

    def _moments(self, image: NDArray[np.float32], use: NDArray[np.bool_] | None) -> tuple[float, float]:
        """Mean and standard deviation of the voxels that count, in double precision; infinite if there are none."""

        def voxels(part: slice) -> NDArray[np.float64]:
            inside = image[part]
            if self.kind == "zscore_nonzero":
                inside = inside[(inside != 0) if use is None else (inside != 0) & use[part]]
            elif use is not None:
                inside = inside[use[part]]
            return inside.astype(np.float64)

        parts = list(slabs(image.shape))
        counts, sums = zip(*((found.size, found.sum()) for found in map(voxels, parts)), strict=True)
        count = sum(counts)
        if not count:
            return 0.0, np.inf
        mean = float(sum(sums)) / count
        squares = sum(float(((voxels(part) - mean) ** 2).sum()) for part in parts)
        return mean, float(np.sqrt(squares / count))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        numbers = {"low": self.low, "high": self.high, "mean": self.mean, "std": self.std} if self.kind == "ct" else {}
        return {"kind": self.kind, **numbers}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Normalisation":
        """Read back what `to_json` gave."""
        if content.get("kind") not in get_args(Kind):
            raise UnknownName("normalisation", str(content.get("kind")), get_args(Kind))
        return cls(**content)


def windows_of(windows: Sequence[tuple[float, float]]) -> tuple[Normalisation, ...]:
    """CT windows as radiologists set them, each scaled to [-1, 1].

    Args:
        windows: (centre, width) in Hounsfield units.

    Raises:
        DataError: if a width is not positive.
    """
    if any(width <= 0 for _, width in windows):
        raise DataError(f"CT windows {list(windows)} need positive widths: [centre, width], for example [40, 400]")
    return tuple(
        Normalisation("ct", centre - width / 2, centre + width / 2, centre, width / 2) for centre, width in windows
    )


def kind_for(channel: str, modality: str = "auto") -> Kind:
    """The rule for a channel: by modality, or for "auto" by its name ("CT" is CT, anything else a z-score)."""
    if modality == "auto":
        return _BY_CHANNEL.get(channel.strip().lower(), "zscore")
    if modality not in _BY_MODALITY:
        raise UnknownName("modality", modality, get_args(Modality))
    return _BY_MODALITY[modality]


def fit_ct(voxels: Iterable[NDArray[Any]]) -> Normalisation:
    """CT clipping and scaling from foreground voxels of the training set.

    Args:
        voxels: Hounsfield units, a sample per case.

    Raises:
        DataError: if there is none.
    """
    parts = [part for part in voxels if part.size]
    if not parts:
        raise DataError("no foreground voxel in the training cases to fit CT normalisation on; check the masks")
    everything = np.concatenate(parts).astype(np.float64)
    low, high = np.percentile(everything, [0.5, 99.5])
    return Normalisation("ct", float(low), float(high), float(everything.mean()), float(everything.std()))
