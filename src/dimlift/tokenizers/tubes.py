"""Sparse tubes: boxes of several shapes, cut out of a volume at strides larger than themselves, a token each.

A volume of 32 x 224 x 224 gives 539 tokens by the four tubes of the paper, where cubes side by side give thousands.

- Piergiovanni et al., TubeViT, CVPR 2023, https://arxiv.org/abs/2212.03229 (tubes: its table 12)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.errors import ShapeError
from dimlift.inflation.inflate import inflate
from dimlift.inflation.input_channels import adapt_channels
from dimlift.inflation.resize_kernel import stretched_kernel
from dimlift.tokenizers.tokens import Grid

SHARED = (8, 8, 8)
"""Size of the one kernel that is interpolated to all tubes."""


@dataclass(frozen=True)
class Tube:
    """One shape of tube and where it is cut.

    Attributes:
        kernel: (z, y, x) voxels of a tube.
        stride: from one tube to the next.
        offset: voxels before the first tube.
        split: space to depth. Each token is the tokens of so many neighbours along (z, y, x), with as many times fewer
            channels each, at as many times smaller strides: as many tokens and weights, and each sees more.

    Raises:
        ShapeError: if a number is not positive, or a stride no multiple of its split.
    """

    kernel: Grid
    stride: Grid
    offset: Grid = (0, 0, 0)
    split: Grid = (1, 1, 1)

    def __post_init__(self) -> None:
        if min(*self.kernel, *self.stride, *self.split) < 1 or min(self.offset) < 0:
            raise ShapeError(f"{self} has a kernel, stride or split below 1, or an offset below 0")
        if any(step % parts for step, parts in zip(self.stride, self.split, strict=True)):
            raise ShapeError(f"the stride {self.stride} of a tube is no multiple of its split {self.split}")

    @property
    def step(self) -> Grid:
        """Stride of the convolution, neighbours included."""
        return _grid(stride // parts for stride, parts in zip(self.stride, self.split, strict=True))

    @property
    def sight(self) -> Grid:
        """Voxels that one token sees, neighbours included."""
        return _grid((p - 1) * s + k for p, s, k in zip(self.split, self.step, self.kernel, strict=True))

    def count(self, size: Grid) -> Grid:
        """Tokens along each axis of a volume of `size` voxels: tubes that lie in it whole, neighbours aside."""
        axes = zip(size, self.offset, self.kernel, self.stride, strict=True)
        return _grid(max(0, (n - o - k) // s + 1) for n, o, k, s in axes)

    def centres(self, counts: Grid, like: Tensor) -> Float[Tensor, "tokens 3"]:
        """(z, y, x) of the middle of what each token sees, in voxels, stride and offset included."""
        axes = [
            first + step * torch.arange(n, device=like.device, dtype=torch.float32) + seen / 2
            for first, step, n, seen in zip(self.offset, self.stride, counts, self.sight, strict=True)
        ]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 2)


FOUR = (
    Tube((8, 8, 8), (16, 32, 32)),
    Tube((16, 4, 4), (6, 32, 32), (4, 8, 8)),
    Tube((4, 12, 12), (16, 32, 32), (0, 16, 16)),
    Tube((1, 16, 16), (32, 16, 16)),
)
SPLIT = (
    Tube((8, 8, 8), (16, 32, 32), split=(2, 1, 1)),
    Tube((16, 4, 4), (6, 32, 32), (4, 8, 8), split=(1, 2, 2)),
    *FOUR[2:],
)
CORE = (Tube((1, 16, 16), (16, 16, 16)), Tube((8, 8, 8), (16, 16, 16)))
TUBES: dict[str, tuple[Tube, ...]] = {"four": FOUR, "four_split": SPLIT, "core": CORE}
"""The paper's: the main four without and with space to depth, and the pair it begins with."""


class Tubes(NamedTuple):
    """Tokens of tubes, shape after shape.

    Attributes:
        values: one vector a tube.
        centres: (z, y, x) of the middle of what each has seen, in voxels.
    """

    values: Float[Tensor, "batch tokens width"]
    centres: Float[Tensor, "tokens 3"]


class TubeTokens(nn.Module):
    """One token for each tube.

    Args:
        width: of a token; a multiple of the neighbours of every split tube.
        tubes: shapes.
        in_channels: channels of the volume.
        interpolated: one kernel of 8 x 8 x 8 for all shapes: a tube is answered as if it were resized to it. The
            resizing averages, so that the answer to an even tube is the same for every shape (the unofficial programs
            let it grow with the number of voxels).

    Raises:
        ShapeError: if the width cannot be shared among neighbours, or tubes are split and interpolated.
    """

    def __init__(
        self, width: int, tubes: Sequence[Tube] = FOUR, in_channels: int = 1, *, interpolated: bool = False
    ) -> None:
        super().__init__()
        self.width, self.tubes, self.in_channels = width, tuple(tubes), in_channels
        for tube in self.tubes:
            if width % prod(tube.split):
                raise ShapeError(f"tokens of {width} numbers cannot be shared among {prod(tube.split)} neighbours")
            if interpolated and prod(tube.split) > 1:
                raise ShapeError("split tubes have fewer channels than others and no common kernel; use one of both")
        shapes = (
            [(width, SHARED)] if interpolated else [(width // prod(tube.split), tube.kernel) for tube in self.tubes]
        )
        self.kernels = nn.ParameterList(torch.empty(channels, in_channels, *size) for channels, size in shapes)
        self.biases = nn.ParameterList(torch.zeros(channels) for channels, _ in shapes)
        for kernel in self.kernels:
            nn.init.trunc_normal_(kernel, std=kernel[0].numel() ** -0.5)
        self.interpolated = interpolated

    @torch.no_grad()
    def inherit(self, kernel: Float[Tensor, "width colours h w"], bias: Tensor | None) -> None:
        """Start from a 2D patch embedding: colours shared out over channels, resized, averaged over depth.

        To a volume that is constant each tube then says what the patch embedding says to a constant picture. Split
        tubes have fewer kernels than a token has numbers, cannot say it, and stay as they were drawn.

        Raises:
            ShapeError: if its tokens have another width.
        """
        if kernel.shape[0] != self.width:
            raise ShapeError(f"the 2D network has tokens of {kernel.shape[0]} numbers, these have {self.width}")
        grey = adapt_channels(kernel.detach(), self.in_channels)
        for own, shift in zip(self.kernels, self.biases, strict=True):
            if len(own) == self.width:
                flat = stretched_kernel(grey, (own.shape[3], own.shape[4]))
                own.copy_(inflate(flat, own.shape[2], "average"))
                shift.copy_(torch.zeros_like(shift) if bias is None else bias)

    def forward(self, volume: Float[Tensor, "batch channels depth height width"]) -> Tubes:
        """Tokens of all tubes.

        Raises:
            ShapeError: if the volume has other channels, or is too small for a tube.
        """
        return self._cut(volume, range(len(self.tubes)))

    def of_pictures(self, pictures: Float[Tensor, "batch channels height width"]) -> Tubes:
        """Tokens of pictures, by the tubes of a single slice.

        Raises:
            ShapeError: if there is no such tube.
        """
        flat = [number for number, tube in enumerate(self.tubes) if tube.kernel[0] == 1 and tube.offset[0] == 0]
        if not flat:
            raise ShapeError("no tube is one slice deep, so none can be cut out of a picture; add one")
        return self._cut(pictures[:, :, None], flat)

    def _cut(self, volume: Tensor, chosen: Sequence[int]) -> Tubes:
        if volume.dim() != 5 or volume.shape[1] != self.in_channels:
            raise ShapeError(f"the tokenizer reads (B, {self.in_channels}, D, H, W), got {tuple(volume.shape)}")
        size = _grid(volume.shape[2:])
        values, centres = [], []
        for number in chosen:
            tube = self.tubes[number]
            counts = tube.count(size)
            if min(counts) == 0:
                least = [o + k for o, k in zip(tube.offset, tube.kernel, strict=True)]
                raise ShapeError(
                    f"a tube of {tube.kernel} voxels at {tube.offset} needs a volume of {least} voxels, got "
                    f"{list(size)}; use smaller tubes, or larger patches (training.patch_size)"
                )
            kernel, bias = self._kernel(number)
            found = F.conv3d(self._room(volume, tube, counts), kernel, bias, tube.step)
            a, b, c = tube.split
            values.append(rearrange(found, "n w (z a) (y b) (x c) -> n (z y x) (a b c w)", a=a, b=b, c=c))
            centres.append(tube.centres(counts, found))
        return Tubes(torch.cat(values, dim=1), torch.cat(centres))

    def _kernel(self, number: int) -> tuple[Tensor, Tensor]:
        if not self.interpolated:
            return self.kernels[number], self.biases[number]
        return stretched_kernel(self.kernels[0], self.tubes[number].kernel), self.biases[0]

    @staticmethod
    def _room(volume: Tensor, tube: Tube, counts: Grid) -> Tensor:
        """Exactly the voxels that `counts` tokens see; neighbours beyond the volume repeat its last voxels."""
        last = [o + (n - 1) * s + r for o, n, s, r in zip(tube.offset, counts, tube.stride, tube.sight, strict=True)]
        missing = [max(0, end - n) for end, n in zip(last, volume.shape[2:], strict=True)]
        if any(missing):
            volume = F.pad(volume, (0, missing[2], 0, missing[1], 0, missing[0]), mode="replicate")
        (a, b, c), (z, y, x) = tube.offset, last
        return volume[:, :, a:z, b:y, c:x]


def widened(tube: Tube, factor: int) -> Tube:
    """The tube whose kernel, as narrow as it is, makes tokens `factor` times as wide: by space to depth.

    Raises:
        ShapeError: if the factor is none of 1, 2, 4 and 8, or does not divide the strides.
    """
    ways: dict[int, Grid] = {1: (1, 1, 1), 2: (2, 1, 1), 4: (1, 2, 2), 8: (2, 2, 2)}
    if factor not in ways:
        raise ShapeError(f"tokens can be made 2, 4 or 8 times as wide, not {factor} times; choose another network")
    return Tube(
        tube.kernel, tube.stride, tube.offset, _grid(a * b for a, b in zip(tube.split, ways[factor], strict=True))
    )


def _grid(numbers: Iterable[int]) -> Grid:
    z, y, x = numbers
    return z, y, x
