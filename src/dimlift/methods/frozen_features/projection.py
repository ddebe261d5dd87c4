"""From many channels to few: a fixed random projection before the cache, a fitted one behind it.

What is cached must not know which cases train, or every fold would need a cache of its own; so the first projection
is drawn from a seed (Johnson and Lindenstrauss, 1984). The second, principal components of the standardised maps, is
fitted on the training cases of a fold and travels with the weights of the method.
"""

import hashlib
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.errors import ConfigError, DataError, RunError, ShapeError


def fixed_projection(stage: int, channels: int, kept: int, seed: int) -> Float[Tensor, "kept channels"] | None:
    """Orthonormal rows drawn from (stage, channels, kept, seed) alone; None where nothing is to be left out."""
    if channels <= kept:
        return None
    name = f"{stage}/{channels}/{kept}/{seed}".encode()
    draw = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(name).digest()[:7]))
    basis, triangle = torch.linalg.qr(torch.randn(channels, kept, generator=draw, dtype=torch.float64))
    return (basis * triangle.diagonal().sign()).T.float().contiguous()


class FeatureProjection(nn.Module):
    """Standardise the channels of each map, and keep the principal components, each with variance 1.

    Args:
        channels: channels of each map as they come from the cache.
        components: channels kept in all, shared out evenly over the maps (the first maps get what is left over).
        floor: smallest share of a map's variance a component may carry; smaller ones are noise and answer 0.

    Raises:
        ConfigError: if there are fewer components than maps.
    """

    def __init__(self, channels: Sequence[int], components: int = 24, floor: float = 1e-6) -> None:
        super().__init__()
        if components < len(channels):
            raise ConfigError(
                f"{components} components cannot be shared out over {len(channels)} maps; take fewer stages or planes, "
                f"or at least {len(channels)} components"
            )
        share, left = divmod(components, len(channels))
        self.channels = tuple(channels)
        self.kept = tuple(min(count, share + (index < left)) for index, count in enumerate(channels))
        self.floor = floor
        self.fitted: Tensor
        self.register_buffer("fitted", torch.tensor(False))
        for index, (count, kept) in enumerate(zip(self.channels, self.kept, strict=True)):
            self.register_buffer(f"weight{index}", torch.zeros(kept, count))
            self.register_buffer(f"bias{index}", torch.zeros(kept))

    @property
    def components(self) -> int:
        """Channels of all maps together."""
        return sum(self.kept)

    def fit(self, cases: Iterable[Sequence[Float[Tensor, "_ _ _ _"]]]) -> None:
        """Learn from the maps of the training cases (and of no other), one case after the other.

        Raises:
            DataError: if there is no case.
            ShapeError: if a case's maps are not those the projection was built for.
        """
        sums = [torch.zeros(count, dtype=torch.float64) for count in self.channels]
        squares = [torch.zeros(count, count, dtype=torch.float64) for count in self.channels]
        voxels = [0] * len(self.channels)
        for maps in cases:
            self._check(maps)
            for index, each in enumerate(maps):
                flat = each.float().flatten(1).double()
                sums[index] += flat.sum(1)
                squares[index] += flat @ flat.T
                voxels[index] += flat.shape[1]
        if not all(voxels):
            raise DataError("no training case to fit the feature projection on; give it the maps of at least one")
        for index, count in enumerate(voxels):
            mean = sums[index] / count
            covariance = squares[index] / count - mean[:, None] * mean
            fitted = _whitening(covariance, self.kept[index], self.floor)
            weight, bias = self._map(index)
            weight.copy_(fitted)
            bias.copy_(-fitted @ mean)
        self.fitted.fill_(True)

    def forward(self, maps: Sequence[Float[Tensor, "_ _ _ _"]]) -> list[Float[Tensor, "_ _ _ _"]]:
        """Maps of a case (C_i, d, h, w) -> (K_i, d, h, w) in float32: mean 0, variance 1 over the training cases.

        Raises:
            RunError: before `fit`.
        """
        if not self.fitted:
            raise RunError("the feature projection has not been fitted; call fit with the maps of the training cases")
        self._check(maps)
        found = []
        for index, each in enumerate(maps):
            weight, bias = self._map(index)
            projected = torch.einsum("kc,cdhw->kdhw", weight, each.to(weight)) + bias.view(-1, 1, 1, 1)
            found.append(projected)
        return found

    def _map(self, index: int) -> tuple[Tensor, Tensor]:
        return self.get_buffer(f"weight{index}"), self.get_buffer(f"bias{index}")

    def _check(self, maps: Sequence[Tensor]) -> None:
        found = tuple(len(each) for each in maps)
        if found != self.channels:
            raise ShapeError(f"the projection was built for maps of {self.channels} channels, got {found}")


def _whitening(covariance: Tensor, kept: int, floor: float) -> Tensor:
    """(kept, channels): onto the leading principal components of the standardised channels, with variance 1."""
    deviation = covariance.diagonal().clamp_min(0).sqrt()
    inverse = torch.where(deviation > 1e-6 * deviation.max().clamp_min(1e-30), 1 / deviation, 0.0)
    variances, directions = torch.linalg.eigh(covariance * inverse[:, None] * inverse)
    variances, directions = variances.flip(0)[:kept], directions.flip(1)[:, :kept]
    # The sign of an eigenvector is the library's whim; the largest loading is made positive.
    directions = directions * directions.gather(0, directions.abs().argmax(0, keepdim=True)).sign()
    gain = torch.where(variances > floor * variances.sum(), variances.clamp_min(1e-30).rsqrt(), 0.0)
    return (directions * gain).T * inverse
