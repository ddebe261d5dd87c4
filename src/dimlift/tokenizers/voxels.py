"""Tokenizers of volumes for 2D vision transformers.

- Wang et al., Simple3D-Former, 2022, https://arxiv.org/abs/2209.07026
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.errors import ShapeError
from dimlift.inflation.inflate import inflate_kernel
from dimlift.inflation.input_channels import adapt_channels
from dimlift.inflation.profiles import Profile
from dimlift.inflation.resize_kernel import pi_resize_kernel
from dimlift.tokenizers.tokens import Grid, Tokens, patch_centres, require_width


class CubeTokenizer(nn.Module):
    """Naive inflation: one token per 3D patch, by a 3D convolution with equal kernel and stride.

    Patches that exceed the volume repeat its last voxels; no voxel is dropped.

    Args:
        width: channels of a token.
        patch_size: (z, y, x) voxels of a patch.
        in_channels: channels of the volume.
    """

    def __init__(self, width: int, patch_size: Grid, in_channels: int = 1) -> None:
        super().__init__()
        if len(patch_size) != 3 or min(patch_size) < 1:
            raise ShapeError(f"patch_size needs three positive numbers (z, y, x), got {patch_size}")
        self.patch_size: Grid = (patch_size[0], patch_size[1], patch_size[2])
        self.width, self.in_channels = width, in_channels
        self.project = nn.Conv3d(in_channels, width, self.patch_size, self.patch_size)

    @torch.no_grad()
    def init_from_2d(
        self, kernel: Float[Tensor, "width colours h w"], bias: Tensor | None, profile: str | Profile = "average"
    ) -> None:
        """Initialise from a 2D patch embedding: adapt its channels, resize it, and inflate it along depth.

        A volume of one repeated slice then gets the 2D tokens of that slice, at every depth.

        Raises:
            ShapeError: if its tokens have another width.
        """
        require_width(kernel, self.width)
        flat = pi_resize_kernel(adapt_channels(kernel.detach(), self.in_channels), self.patch_size[1:])
        self.project.weight.copy_(inflate_kernel(flat, self.patch_size[0], profile))
        if self.project.bias is not None:
            self.project.bias.copy_(torch.zeros(self.width) if bias is None else bias)

    def forward(self, volume: Float[Tensor, "batch channels depth height width"]) -> Tokens:
        """Return the tokens of all patches.

        Raises:
            ShapeError: if the volume has other axes or channels.
        """
        if volume.dim() != 5 or volume.shape[1] != self.in_channels:
            raise ShapeError(f"the tokenizer expects (B, {self.in_channels}, D, H, W), got {tuple(volume.shape)}")
        size: Grid = (volume.shape[2], volume.shape[3], volume.shape[4])
        missing = [-voxels % step for voxels, step in zip(size, self.patch_size, strict=True)]
        if any(missing):
            volume = F.pad(volume, (0, missing[2], 0, missing[1], 0, missing[0]), mode="replicate")
        patches = self.project(volume)
        centres = patch_centres(size, self.patch_size, patches).expand(len(patches), -1, -1)
        grid: Grid = (patches.shape[2], patches.shape[3], patches.shape[4])
        return Tokens(patches.flatten(2).transpose(1, 2), centres, grid)


class ProjectionTokenizer(nn.Module):
    """2D projection: the mean over depth of the tokens of each column of patches.

    Args:
        cubes: tokenizer of the patches.
    """

    def __init__(self, cubes: CubeTokenizer) -> None:
        super().__init__()
        self.cubes, self.width = cubes, cubes.width

    def forward(self, volume: Float[Tensor, "batch channels depth height width"]) -> Tokens:
        """Return one token per column, centred in depth."""
        patches = self.cubes(volume)
        values = patches.values.unflatten(1, (patches.grid[0], -1)).mean(1)
        return Tokens(values, _column_centres(patches), (1, *patches.grid[1:]))


class GroupTokenizer(nn.Module):
    """Group embedding: the class token of a small transformer along each column of patches.

    Args:
        cubes: tokenizer of the patches.
        depth: patches along depth with learnt position embeddings; they are interpolated to other depths.
        heads: attention heads along depth; 4 in the paper.

    Raises:
        ShapeError: if the width of a token is not divisible by `heads`.
    """

    def __init__(self, cubes: CubeTokenizer, depth: int = 8, heads: int = 4) -> None:
        super().__init__()
        if cubes.width % heads:
            raise ShapeError(f"width {cubes.width} is not divisible by {heads} heads; choose a divisor")
        self.cubes, self.width = cubes, cubes.width
        self.group = nn.Parameter(torch.empty(1, 1, self.width))
        self.depth_position = nn.Parameter(torch.empty(1, depth, self.width))
        for parameter in (self.group, self.depth_position):
            nn.init.trunc_normal_(parameter, std=0.02)
        self.layer = nn.TransformerEncoderLayer(
            self.width, heads, self.width, dropout=0.0, activation="gelu", batch_first=True
        )

    def forward(self, volume: Float[Tensor, "batch channels depth height width"]) -> Tokens:
        """Return one token per column, centred in depth."""
        patches = self.cubes(volume)
        depth = patches.grid[0]
        columns = patches.values.unflatten(1, (depth, -1)).transpose(1, 2).flatten(0, 1)  # (B * columns, depth, width)
        positions = F.interpolate(self.depth_position.transpose(1, 2), depth, mode="linear").transpose(1, 2)
        sequence = torch.cat([self.group.expand(len(columns), -1, -1), columns + positions], dim=1)
        values = self.layer(sequence)[:, 0].unflatten(0, (len(volume), -1))
        return Tokens(values, _column_centres(patches), (1, *patches.grid[1:]))


def _column_centres(patches: Tokens) -> Tensor:
    """Return the centres of columns: (y, x) of their patches, the middle of the depth."""
    centres = patches.centres.unflatten(1, (patches.grid[0], -1))[:, 0].clone()
    centres[..., 0] = 0.5
    return centres
