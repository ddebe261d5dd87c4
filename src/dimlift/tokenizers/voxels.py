"""Three ways to make tokens of a volume for a 2D vision transformer.

- Wang et al., Simple3D-Former, 2022, https://arxiv.org/abs/2209.07026
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.errors import ShapeError
from dimlift.inflation.inflate import inflate
from dimlift.inflation.input_channels import adapt_channels
from dimlift.inflation.profiles import Profile
from dimlift.inflation.resize_kernel import resample_kernel
from dimlift.tokenizers.tokens import Grid, Tokens, cell_centres


class CubeTokens(nn.Module):
    """Naive inflation: one token for each cell, by a 3D convolution whose kernel is its stride.

    Cells that reach beyond the volume repeat its last voxels; no voxel is left out.

    Args:
        width: of a token.
        cell: (z, y, x) voxels of a cell.
        in_channels: channels of the volume.
    """

    def __init__(self, width: int, cell: Grid, in_channels: int = 1) -> None:
        super().__init__()
        if len(cell) != 3 or min(cell) < 1:
            raise ShapeError(f"a cell is three positive numbers (z, y, x), got {cell}")
        self.width, self.cell, self.in_channels = width, (cell[0], cell[1], cell[2]), in_channels
        self.project = nn.Conv3d(in_channels, width, self.cell, self.cell)

    @torch.no_grad()
    def inherit(
        self, kernel: Float[Tensor, "width colours h w"], bias: Tensor | None, profile: str | Profile = "average"
    ) -> None:
        """Start from a 2D patch embedding: colours shared out over channels, patch resized, inflated over depth.

        A volume of one repeated slice then gets the 2D tokens of that slice, at every depth.

        Raises:
            ShapeError: if its tokens have another width.
        """
        if kernel.shape[0] != self.width:
            raise ShapeError(f"the 2D network has tokens of {kernel.shape[0]} numbers, these have {self.width}")
        flat = resample_kernel(adapt_channels(kernel.detach(), self.in_channels), self.cell[1:])
        self.project.weight.copy_(inflate(flat, self.cell[0], profile))
        if self.project.bias is not None:
            self.project.bias.copy_(torch.zeros(self.width) if bias is None else bias)

    def forward(self, volume: Float[Tensor, "batch channels depth height width"]) -> Tokens:
        """Tokens of all cells.

        Raises:
            ShapeError: if the volume has other axes or channels.
        """
        if volume.dim() != 5 or volume.shape[1] != self.in_channels:
            raise ShapeError(f"the tokenizer reads (B, {self.in_channels}, D, H, W), got {tuple(volume.shape)}")
        size: Grid = (volume.shape[2], volume.shape[3], volume.shape[4])
        missing = [-voxels % step for voxels, step in zip(size, self.cell, strict=True)]
        if any(missing):
            volume = F.pad(volume, (0, missing[2], 0, missing[1], 0, missing[0]), mode="replicate")
        cells = self.project(volume)
        centres = cell_centres(size, self.cell, cells).expand(len(cells), -1, -1)
        grid: Grid = (cells.shape[2], cells.shape[3], cells.shape[4])
        return Tokens(cells.flatten(2).transpose(1, 2), centres, grid)


class ProjectedTokens(nn.Module):
    """2D projection: the mean over depth of the tokens of each column of cells.

    Args:
        cubes: makes the tokens of cells.
    """

    def __init__(self, cubes: CubeTokens) -> None:
        super().__init__()
        self.cubes, self.width = cubes, cubes.width

    def forward(self, volume: Float[Tensor, "batch channels depth height width"]) -> Tokens:
        """One token for each column, in the middle of its depth."""
        cells = self.cubes(volume)
        columns = cells.values.unflatten(1, (cells.grid[0], -1)).mean(1)
        return Tokens(columns, _middles(cells), (1, *cells.grid[1:]))


class GroupTokens(nn.Module):
    """Group embedding: a small transformer along depth reads each column of cells and answers with its class token.

    Args:
        cubes: makes the tokens of cells.
        depth: cells along depth that positions are learnt for; other depths read between them.
        heads: of the attention along depth; the authors have 4.

    Raises:
        ShapeError: if the width of a token is no multiple of `heads`.
    """

    def __init__(self, cubes: CubeTokens, depth: int = 8, heads: int = 4) -> None:
        super().__init__()
        if cubes.width % heads:
            raise ShapeError(f"tokens of {cubes.width} numbers cannot be shared among {heads} heads; choose a divisor")
        self.cubes, self.width = cubes, cubes.width
        self.group = nn.Parameter(torch.empty(1, 1, self.width))
        self.depth_position = nn.Parameter(torch.empty(1, depth, self.width))
        for parameter in (self.group, self.depth_position):
            nn.init.trunc_normal_(parameter, std=0.02)
        self.layer = nn.TransformerEncoderLayer(
            self.width, heads, self.width, dropout=0.0, activation="gelu", batch_first=True
        )

    def forward(self, volume: Float[Tensor, "batch channels depth height width"]) -> Tokens:
        """One token for each column, in the middle of its depth."""
        cells = self.cubes(volume)
        depth = cells.grid[0]
        columns = cells.values.unflatten(1, (depth, -1)).transpose(1, 2).flatten(0, 1)  # (B * columns, depth, width)
        positions = F.interpolate(self.depth_position.transpose(1, 2), depth, mode="linear").transpose(1, 2)
        sequence = torch.cat([self.group.expand(len(columns), -1, -1), columns + positions], dim=1)
        answers = self.layer(sequence)[:, 0].unflatten(0, (len(volume), -1))
        return Tokens(answers, _middles(cells), (1, *cells.grid[1:]))


def _middles(cells: Tokens) -> Tensor:
    """Centres of columns: (y, x) of their cells, halfway through the depth."""
    centres = cells.centres.unflatten(1, (cells.grid[0], -1))[:, 0].clone()
    centres[..., 0] = 0.5
    return centres
