"""nnU-Net's residual encoder U-Net, its layers named as in nnU-Net's checkpoints so that those load by name.

The authors' package asks for an older timm than this project lifts from, so the network is written down here.

- Isensee et al., 2024, https://arxiv.org/abs/2404.09556
- Weights pretrained on 3D volumes (OpenMind, ResEnc-L): Wald et al., 2024, https://arxiv.org/abs/2412.17041
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.models.pad_to_multiple import AnySize

BLOCKS = (1, 3, 4, 6, 6, 6)
WIDTHS = (32, 64, 128, 256, 320, 320)


class ConvNorm(nn.Module):
    """Convolution and instance norm, then leaky ReLU if asked for."""

    def __init__(
        self, before: int, after: int, kernel: int = 3, stride: int = 1, bias: bool = True, act: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv3d(before, after, kernel, stride, kernel // 2, bias=bias)
        self.norm = nn.InstanceNorm3d(after, eps=1e-5, affine=True)
        self.act = nn.LeakyReLU(inplace=True) if act else nn.Identity()

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b c2 d2 h2 w2"]:
        """Filtered, normalised, rectified."""
        return self.act(self.norm(self.conv(x)))


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut that averages before it projects (ResNet-D)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(before, after, stride=stride)
        self.conv2 = ConvNorm(after, after, act=False)
        shortcut: list[nn.Module] = [nn.AvgPool3d(stride, stride)] if stride > 1 else []
        if before != after:
            shortcut.append(ConvNorm(before, after, kernel=1, bias=False, act=False))
        self.skip = nn.Sequential(*shortcut)
        self.act = nn.LeakyReLU(inplace=True)

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b c2 d2 h2 w2"]:
        """Shortcut plus what the convolutions add."""
        return self.act(self.conv2(self.conv1(x)) + self.skip(x))


class Blocks(nn.Module):
    """Blocks in a row; only the first one strides."""

    def __init__(self, before: int, after: int, count: int, stride: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(ResidualBlock(after if i else before, after, 1 if i else stride) for i in range(count))
        )

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b c2 d2 h2 w2"]:
        """Through all of them."""
        return self.blocks(x)


class Convs(nn.Module):
    """A single convolution, under the name a stack of them has in checkpoints."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(ConvNorm(before, after))

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b c2 d h w"]:
        """Filtered once."""
        return self.convs(x)


class Encoder(nn.Module):
    """Stem and stages; every stage but the first halves the volume."""

    def __init__(self, in_channels: int, widths: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        self.stem = Convs(in_channels, widths[0])
        before = [widths[0], *widths[:-1]]
        self.stages = nn.Sequential(
            *(Blocks(before[i], widths[i], blocks[i], 2 if i else 1) for i in range(len(widths)))
        )

    def forward(self, x: Float[Tensor, "b c d h w"]) -> list[Tensor]:
        """The map of every stage, finest first."""
        x = self.stem(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class Decoder(nn.Module):
    """Doubles the coarsest map step by step, beside the encoder's maps; answers at the finest."""

    def __init__(self, widths: Sequence[int], classes: int) -> None:
        super().__init__()
        upwards = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.transpconvs = nn.ModuleList(nn.ConvTranspose3d(low, high, 2, 2) for low, high in upwards)
        self.stages = nn.ModuleList(Convs(2 * high, high) for _, high in upwards)
        self.answer = nn.Conv3d(widths[0], classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Float[Tensor, "b classes d h w"]:
        """Logits of every voxel."""
        x = maps[-1]
        for grow, stage, beside in zip(self.transpconvs, self.stages, maps[-2::-1], strict=True):
            x = stage(torch.cat((grow(x), beside), dim=1))
        return self.answer(x)


class ResidualUNet(nn.Module):
    """Encoder and decoder."""

    def __init__(self, in_channels: int, classes: int, widths: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        self.encoder = Encoder(in_channels, widths, blocks)
        self.decoder = Decoder(widths, classes)

    def forward(self, volume: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b classes d h w"]:
        """Logits; sizes must be multiples of 2 for every halving."""
        return self.decoder(self.encoder(volume))


def residual_unet(
    in_channels: int, classes: int, *, widths: Sequence[int] = WIDTHS, blocks: Sequence[int] = BLOCKS
) -> AnySize:
    """(B, C, D, H, W) -> (B, classes, D, H, W) of any size, with random weights; ResEnc-L by default.

    Args:
        widths: channels of the stages, finest first.
        blocks: residual blocks of each stage.
    """
    step = 2 ** (len(widths) - 1)
    return AnySize(ResidualUNet(in_channels, classes, widths, blocks), (step, step, step))
