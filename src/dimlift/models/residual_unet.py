"""Residual encoder U-Net of nnU-Net, with the layer names of nnU-Net's checkpoints, so that those load by name.

The package of the authors requires an older timm than this project, so the network is implemented here.

- Isensee et al., 2024, https://arxiv.org/abs/2404.09556
- Weights pretrained on 3D volumes (OpenMind, ResEnc-L): Wald et al., 2024, https://arxiv.org/abs/2412.17041
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.models.pad_to_multiple import PadToMultiple

BLOCKS = (1, 3, 4, 6, 6, 6)
WIDTHS = (32, 64, 128, 256, 320, 320)


class ConvNormAct(nn.Module):
    """Convolution, instance norm and optional leaky ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, bias: bool = True, act: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, kernel, stride, kernel // 2, bias=bias)
        self.norm = nn.InstanceNorm3d(out_channels, eps=1e-5, affine=True)
        self.act = nn.LeakyReLU(inplace=True) if act else nn.Identity()

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b c2 d2 h2 w2"]:
        """Return the activations."""
        return self.act(self.norm(self.conv(x)))


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut with average pooling before its projection (ResNet-D)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(in_channels, out_channels, stride=stride)
        self.conv2 = ConvNormAct(out_channels, out_channels, act=False)
        shortcut: list[nn.Module] = [nn.AvgPool3d(stride, stride)] if stride > 1 else []
        if in_channels != out_channels:
            shortcut.append(ConvNormAct(in_channels, out_channels, kernel=1, bias=False, act=False))
        self.skip = nn.Sequential(*shortcut)
        self.act = nn.LeakyReLU(inplace=True)

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b c2 d2 h2 w2"]:
        """Return the sum of both branches, rectified."""
        return self.act(self.conv2(self.conv1(x)) + self.skip(x))


class ResidualStage(nn.Module):
    """Residual blocks of one resolution; only the first one strides."""

    def __init__(self, in_channels: int, out_channels: int, count: int, stride: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(ResidualBlock(out_channels if i else in_channels, out_channels, 1 if i else stride) for i in range(count))
        )

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b c2 d2 h2 w2"]:
        """Return the output of the last block."""
        return self.blocks(x)


class ConvStack(nn.Module):
    """A single convolution, with the parameter names of a stack of convolutions in checkpoints."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(ConvNormAct(in_channels, out_channels))

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b c2 d h w"]:
        """Return the activations."""
        return self.convs(x)


class ResidualUNetEncoder(nn.Module):
    """Stem and stages; every stage but the first halves the resolution."""

    def __init__(self, in_channels: int, widths: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        self.stem = ConvStack(in_channels, widths[0])
        inputs = [widths[0], *widths[:-1]]
        self.stages = nn.Sequential(
            *(ResidualStage(inputs[i], widths[i], blocks[i], 2 if i else 1) for i in range(len(widths)))
        )

    def forward(self, x: Float[Tensor, "b c d h w"]) -> list[Tensor]:
        """Return the map of every stage, finest first."""
        x = self.stem(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class ResidualUNetDecoder(nn.Module):
    """Upsample the coarsest map step by step, concatenated with the maps of the encoder."""

    def __init__(self, widths: Sequence[int], num_classes: int) -> None:
        super().__init__()
        steps = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.transpconvs = nn.ModuleList(nn.ConvTranspose3d(coarse, fine, 2, 2) for coarse, fine in steps)
        self.stages = nn.ModuleList(ConvStack(2 * fine, fine) for _, fine in steps)
        self.head = nn.Conv3d(widths[0], num_classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Float[Tensor, "b classes d h w"]:
        """Return the logits of every voxel."""
        x = maps[-1]
        for upsample, stage, skip in zip(self.transpconvs, self.stages, maps[-2::-1], strict=True):
            x = stage(torch.cat((upsample(x), skip), dim=1))
        return self.head(x)


class ResidualUNet(nn.Module):
    """Residual encoder and decoder."""

    def __init__(self, in_channels: int, num_classes: int, widths: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        self.encoder = ResidualUNetEncoder(in_channels, widths, blocks)
        self.decoder = ResidualUNetDecoder(widths, num_classes)

    def forward(self, volume: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b classes d h w"]:
        """Return logits; sizes must be divisible by 2 for every stage but the first."""
        return self.decoder(self.encoder(volume))


def residual_unet(
    in_channels: int, num_classes: int, *, widths: Sequence[int] = WIDTHS, blocks: Sequence[int] = BLOCKS
) -> PadToMultiple:
    """Return a network (B, C, D, H, W) -> logits (B, num_classes, D, H, W) of any size, with random weights.

    Args:
        in_channels: channels of a volume.
        num_classes: channels of the logits.
        widths: channels of the stages, finest first; ResEnc-L by default.
        blocks: residual blocks of each stage.
    """
    step = 2 ** (len(widths) - 1)
    return PadToMultiple(ResidualUNet(in_channels, num_classes, widths, blocks), (step, step, step))
