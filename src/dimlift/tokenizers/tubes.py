"""Sparse tubes: boxes of several shapes, sampled from a volume at large strides, with one token each.

A volume of 32 x 224 x 224 yields 539 tokens with the four tubes of the paper, and thousands with adjacent cubes.

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
from dimlift.inflation.inflate import inflate_kernel
from dimlift.inflation.input_channels import adapt_channels
from dimlift.inflation.resize_kernel import linear_resize_kernel
from dimlift.tokenizers.tokens import Grid, require_width

SHARED_KERNEL = (8, 8, 8)
"""Size of the kernel that is interpolated to all tubes."""


@dataclass(frozen=True)
class Tube:
    """One shape of tube and its positions.

    Attributes:
        kernel: (z, y, x) voxels of a tube.
        stride: distance from one tube to the next.
        offset: voxels before the first tube.
        split: space to depth. A token concatenates the tokens of this number of neighbours along (z, y, x), each with
            fewer channels and a smaller stride by the same factor: equally many tokens and weights, with a larger
            receptive field.

    Raises:
        ShapeError: if a number is not positive, or a stride is not divisible by its split.
    """

    kernel: Grid
    stride: Grid
    offset: Grid = (0, 0, 0)
    split: Grid = (1, 1, 1)

    def __post_init__(self) -> None:
        if min(*self.kernel, *self.stride, *self.split) < 1 or min(self.offset) < 0:
            raise ShapeError(f"{self} has a kernel, stride or split below 1, or an offset below 0")
        if any(step % parts for step, parts in zip(self.stride, self.split, strict=True)):
            raise ShapeError(f"the stride {self.stride} of a tube is not divisible by its split {self.split}")

    @property
    def step(self) -> Grid:
        """Stride of the convolution, between neighbours of a token."""
        return _grid(stride // parts for stride, parts in zip(self.stride, self.split, strict=True))

    @property
    def receptive_field(self) -> Grid:
        """(z, y, x) voxels of a token, neighbours included."""
        return _grid((p - 1) * s + k for p, s, k in zip(self.split, self.step, self.kernel, strict=True))

    def count(self, size: Grid) -> Grid:
        """Return the number of tokens along each axis of a volume of `size` voxels; tubes lie inside the volume."""
        axes = zip(size, self.offset, self.kernel, self.stride, strict=True)
        return _grid(max(0, (n - o - k) // s + 1) for n, o, k, s in axes)

    def centres(self, counts: Grid, like: Tensor) -> Float[Tensor, "tokens 3"]:
        """Return the (z, y, x) centre of each token's receptive field, in voxels."""
        axes = [
            first + step * torch.arange(n, device=like.device, dtype=torch.float32) + extent / 2
            for first, step, n, extent in zip(self.offset, self.stride, counts, self.receptive_field, strict=True)
        ]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 2)


FOUR_TUBES = (
    Tube((8, 8, 8), (16, 32, 32)),
    Tube((16, 4, 4), (6, 32, 32), (4, 8, 8)),
    Tube((4, 12, 12), (16, 32, 32), (0, 16, 16)),
    Tube((1, 16, 16), (32, 16, 16)),
)
SPLIT_TUBES = (
    Tube((8, 8, 8), (16, 32, 32), split=(2, 1, 1)),
    Tube((16, 4, 4), (6, 32, 32), (4, 8, 8), split=(1, 2, 2)),
    *FOUR_TUBES[2:],
)
CORE_TUBES = (Tube((1, 16, 16), (16, 16, 16)), Tube((8, 8, 8), (16, 16, 16)))
TUBES: dict[str, tuple[Tube, ...]] = {"four": FOUR_TUBES, "four_split": SPLIT_TUBES, "core": CORE_TUBES}
"""Tubes of the paper: the main four without and with space to depth, and its first two."""


class TubeTokens(NamedTuple):
    """Tokens of tubes, concatenated over the shapes.

    Attributes:
        values: one vector per tube.
        centres: (z, y, x) centre of each receptive field, in voxels.
    """

    values: Float[Tensor, "batch tokens width"]
    centres: Float[Tensor, "tokens 3"]


class TubeTokenizer(nn.Module):
    """Tokenizer of sparse tubes.

    Args:
        width: channels of a token; a multiple of the number of neighbours of every split tube.
        tubes: shapes of the tubes.
        in_channels: channels of the volume.
        interpolated: use one kernel of 8 x 8 x 8 for all shapes, as if each tube were resized to it. The resizing
            averages, so that the output for a constant tube is equal for all shapes (in unofficial implementations it
            grows with the number of voxels).

    Raises:
        ShapeError: if the width is not divisible by the number of neighbours, or tubes are split and interpolated.
    """

    def __init__(
        self, width: int, tubes: Sequence[Tube] = FOUR_TUBES, in_channels: int = 1, *, interpolated: bool = False
    ) -> None:
        super().__init__()
        self.width, self.tubes, self.in_channels = width, tuple(tubes), in_channels
        for tube in self.tubes:
            if width % prod(tube.split):
                raise ShapeError(f"width {width} is not divisible by the {prod(tube.split)} neighbours of a split tube")
            if interpolated and prod(tube.split) > 1:
                raise ShapeError(
                    "split tubes have fewer channels and no common kernel; use either split or interpolated"
                )
        shapes = (
            [(width, SHARED_KERNEL)]
            if interpolated
            else [(width // prod(tube.split), tube.kernel) for tube in self.tubes]
        )
        self.kernels = nn.ParameterList(torch.empty(channels, in_channels, *size) for channels, size in shapes)
        self.biases = nn.ParameterList(torch.zeros(channels) for channels, _ in shapes)
        for kernel in self.kernels:
            nn.init.trunc_normal_(kernel, std=kernel[0].numel() ** -0.5)
        self.interpolated = interpolated

    @torch.no_grad()
    def init_from_2d(self, kernel: Float[Tensor, "width colours h w"], bias: Tensor | None) -> None:
        """Initialise from a 2D patch embedding: adapt its channels, resize it, and average it over depth.

        For a constant volume each tube then yields the token of a constant image. Split tubes have fewer kernels than
        token channels and stay randomly initialised.

        Raises:
            ShapeError: if its tokens have another width.
        """
        require_width(kernel, self.width)
        adapted = adapt_channels(kernel.detach(), self.in_channels)
        for own, own_bias in zip(self.kernels, self.biases, strict=True):
            if len(own) == self.width:
                flat = linear_resize_kernel(adapted, (own.shape[3], own.shape[4]))
                own.copy_(inflate_kernel(flat, own.shape[2], "average"))
                own_bias.copy_(torch.zeros_like(own_bias) if bias is None else bias)

    def forward(self, volume: Float[Tensor, "batch channels depth height width"]) -> TubeTokens:
        """Return the tokens of all tubes.

        Raises:
            ShapeError: if the volume has other channels, or is too small for a tube.
        """
        return self._tokenize(volume, range(len(self.tubes)))

    def tokenize_images(self, images: Float[Tensor, "batch channels height width"]) -> TubeTokens:
        """Return the tokens of images, from tubes of a single slice.

        Raises:
            ShapeError: if there is no such tube.
        """
        flat = [number for number, tube in enumerate(self.tubes) if tube.kernel[0] == 1 and tube.offset[0] == 0]
        if not flat:
            raise ShapeError("images need a tube of one slice in depth, and there is none; add one")
        return self._tokenize(images[:, :, None], flat)

    def _tokenize(self, volume: Tensor, selected: Sequence[int]) -> TubeTokens:
        if volume.dim() != 5 or volume.shape[1] != self.in_channels:
            raise ShapeError(f"the tokenizer expects (B, {self.in_channels}, D, H, W), got {tuple(volume.shape)}")
        size = _grid(volume.shape[2:])
        values, centres = [], []
        for number in selected:
            tube = self.tubes[number]
            counts = tube.count(size)
            if min(counts) == 0:
                least = [o + k for o, k in zip(tube.offset, tube.kernel, strict=True)]
                raise ShapeError(
                    f"a tube of {tube.kernel} voxels at {tube.offset} needs a volume of {least} voxels or more, got "
                    f"{list(size)}; use smaller tubes, or larger patches (training.patch_size)"
                )
            kernel, bias = self._kernel(number)
            output = F.conv3d(self._crop(volume, tube, counts), kernel, bias, tube.step)
            a, b, c = tube.split
            values.append(rearrange(output, "n w (z a) (y b) (x c) -> n (z y x) (a b c w)", a=a, b=b, c=c))
            centres.append(tube.centres(counts, output))
        return TubeTokens(torch.cat(values, dim=1), torch.cat(centres))

    def _kernel(self, number: int) -> tuple[Tensor, Tensor]:
        if not self.interpolated:
            return self.kernels[number], self.biases[number]
        return linear_resize_kernel(self.kernels[0], self.tubes[number].kernel), self.biases[0]

    @staticmethod
    def _crop(volume: Tensor, tube: Tube, counts: Grid) -> Tensor:
        """Crop the voxels of `counts` tokens; neighbours beyond the volume repeat its last voxels."""
        last = [
            o + (n - 1) * s + r
            for o, n, s, r in zip(tube.offset, counts, tube.stride, tube.receptive_field, strict=True)
        ]
        missing = [max(0, end - n) for end, n in zip(last, volume.shape[2:], strict=True)]
        if any(missing):
            volume = F.pad(volume, (0, missing[2], 0, missing[1], 0, missing[0]), mode="replicate")
        (a, b, c), (z, y, x) = tube.offset, last
        return volume[:, :, a:z, b:y, c:x]


def widen_tube(tube: Tube, factor: int) -> Tube:
    """Return the tube with `factor` times as wide tokens from an unchanged kernel, by space to depth.

    Raises:
        ShapeError: if the factor is not 1, 2, 4 or 8, or does not divide the strides.
    """
    splits: dict[int, Grid] = {1: (1, 1, 1), 2: (2, 1, 1), 4: (1, 2, 2), 8: (2, 2, 2)}
    if factor not in splits:
        raise ShapeError(f"tokens can be made 2, 4 or 8 times as wide, not {factor} times; use another network")
    split = _grid(a * b for a, b in zip(tube.split, splits[factor], strict=True))
    return Tube(tube.kernel, tube.stride, tube.offset, split)


def _grid(numbers: Iterable[int]) -> Grid:
    z, y, x = numbers
    return z, y, x
