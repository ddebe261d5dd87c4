"""Reduction of feature channels: a fixed random projection before the cache, a fitted one behind it.

Cached features must not depend on the training cases, or every cv fold would need its own cache. The first projection
is therefore random with a fixed seed (Johnson and Lindenstrauss, 1984). The second, principal components of the
standardised maps, is fitted on the training cases of a cv fold and stored with the weights of the method.
"""

import hashlib
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.errors import ConfigError, DataError, RunError, ShapeError


def fixed_projection(stage: int, channels: int, kept: int, seed: int) -> Float[Tensor, "kept channels"] | None:
    """Return random orthonormal rows, determined by the arguments; None if there are not more channels than `kept`."""
    if channels <= kept:
        return None
    name = f"{stage}/{channels}/{kept}/{seed}".encode()
    generator = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(name).digest()[:7]))
    basis, triangle = torch.linalg.qr(torch.randn(channels, kept, generator=generator, dtype=torch.float64))
    return (basis * triangle.diagonal().sign()).T.float().contiguous()


class FeatureProjection(nn.Module):
    """Standardise the channels of each map and reduce them to principal components of variance 1.

    Args:
        channels: channels of each map as it comes from the cache.
        num_components: number of components, distributed evenly over the maps (the first maps get the remainder).
        min_variance: smallest fraction of a map's variance for a component; smaller components are noise and set to 0.

    Raises:
        ConfigError: if there are fewer components than maps.
    """

    def __init__(self, channels: Sequence[int], num_components: int = 24, min_variance: float = 1e-6) -> None:
        super().__init__()
        if num_components < len(channels):
            raise ConfigError(
                f"{num_components} components cannot be distributed over {len(channels)} maps; use fewer stages or "
                f"planes, or at least {len(channels)} components"
            )
        quotient, remainder = divmod(num_components, len(channels))
        self.channels = tuple(channels)
        self.kept = tuple(min(count, quotient + (index < remainder)) for index, count in enumerate(channels))
        self.min_variance = min_variance
        self.fitted: Tensor
        self.register_buffer("fitted", torch.tensor(False))
        for index, (count, kept) in enumerate(zip(self.channels, self.kept, strict=True)):
            self.register_buffer(f"weight{index}", torch.zeros(kept, count))
            self.register_buffer(f"bias{index}", torch.zeros(kept))

    @property
    def num_components(self) -> int:
        """Number of components over all maps."""
        return sum(self.kept)

    def fit(self, cases: Iterable[Sequence[Float[Tensor, "_ _ _ _"]]]) -> None:
        """Fit on the maps of the training cases, one case at a time.

        Raises:
            DataError: if there is no case.
            ShapeError: if the maps of a case have other channels than the projection was built for.
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
            raise DataError("no training case to fit the feature projection on; pass the maps of at least one case")
        for index, count in enumerate(voxels):
            mean = sums[index] / count
            covariance = squares[index] / count - mean[:, None] * mean
            whitening = _whitening(covariance, self.kept[index], self.min_variance)
            weight, bias = self._weight_and_bias(index)
            weight.copy_(whitening)
            bias.copy_(-whitening @ mean)
        self.fitted.fill_(True)

    def forward(self, maps: Sequence[Float[Tensor, "_ _ _ _"]]) -> list[Float[Tensor, "_ _ _ _"]]:
        """Return (K_i, d, h, w) in float32, with mean 0 and variance 1 over the training cases, of maps (C_i, d, h, w).

        Raises:
            RunError: before `fit`.
        """
        if not self.fitted:
            raise RunError("the feature projection is not fitted; call fit with the maps of the training cases")
        self._check(maps)
        projected = []
        for index, each in enumerate(maps):
            weight, bias = self._weight_and_bias(index)
            projected.append(torch.einsum("kc,cdhw->kdhw", weight, each.to(weight)) + bias.view(-1, 1, 1, 1))
        return projected

    def _weight_and_bias(self, index: int) -> tuple[Tensor, Tensor]:
        return self.get_buffer(f"weight{index}"), self.get_buffer(f"bias{index}")

    def _check(self, maps: Sequence[Tensor]) -> None:
        found = tuple(len(each) for each in maps)
        if found != self.channels:
            raise ShapeError(f"the projection was built for maps of {self.channels} channels, got {found}")


def _whitening(covariance: Tensor, kept: int, min_variance: float) -> Tensor:
    """Return (kept, channels): the leading principal components of the standardised channels, with variance 1."""
    std = covariance.diagonal().clamp_min(0).sqrt()
    inverse = torch.where(std > 1e-6 * std.max().clamp_min(1e-30), 1 / std, 0.0)
    variances, directions = torch.linalg.eigh(covariance * inverse[:, None] * inverse)
    variances, directions = variances.flip(0)[:kept], directions.flip(1)[:, :kept]
    # the sign of an eigenvector depends on the library; the largest loading is made positive
    directions = directions * directions.gather(0, directions.abs().argmax(0, keepdim=True)).sign()
    gain = torch.where(variances > min_variance * variances.sum(), variances.clamp_min(1e-30).rsqrt(), 0.0)
    return (directions * gain).T * inverse
