"""Maps of several resolutions from an encoder whose maps all have one, as those of a plain vision transformer.

Early maps are enlarged by transposed convolutions that double the resolution, a late one may be halved: the pyramids
of UNETR (Hatamizadeh et al., 2022, https://arxiv.org/abs/2103.10504) and of BEiT's UPerNet (Bao et al., 2021,
https://arxiv.org/abs/2106.08254).
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from dimlift.decoders.blocks import Grid
from dimlift.decoders.levels import Level
from dimlift.decoders.norm import InstanceNorm


class Pyramid(nn.Module):
    """Maps of one stride -> maps whose strides double; maps that have several strides already pass as they are.

    Args:
        levels: of the encoder's maps.
        width: channels of enlarged maps; the others keep theirs.
        halved: whether the last map is halved (the one before it is then kept as it is), or itself kept.
        per_slice: norms within each slice.

    Attributes:
        levels: of the maps handed out.
    """

    def __init__(self, levels: Sequence[Level], width: int, *, halved: bool = False, per_slice: bool = False) -> None:
        super().__init__()
        single = len(levels) > 1 and len({stride for _, stride in levels}) == 1
        self.steps = nn.ModuleList()
        self.levels: list[Level] = []
        for index, (channels, stride) in enumerate(levels):
            doublings = len(levels) - 1 - index - halved if single else 0
            if doublings < 0:
                self.steps.append(nn.MaxPool3d((1, 2, 2), ceil_mode=True))
                self.levels.append((channels, (stride[0], 2 * stride[1], 2 * stride[2])))
                continue
            step = nn.Sequential()
            for _ in range(doublings):
                factor = tuple(2 if size > 1 else 1 for size in stride)
                if max(factor) == 1:
                    break
                step.append(Enlarge(channels, width, factor, per_slice))
                channels, stride = width, tuple(-(-size // by) for size, by in zip(stride, factor, strict=True))
            self.steps.append(step)
            self.levels.append((channels, stride))

    def forward(self, maps: Sequence[Float[Tensor, "batch _ _ _ _"]]) -> list[Float[Tensor, "batch _ _ _ _"]]:
        """The pyramid, finest first."""
        return [step(each) for step, each in zip(self.steps, maps, strict=True)]


class Enlarge(nn.Sequential):
    """A transposed convolution whose kernel is its stride, instance norm, GELU.

    Args:
        in_channels: channels it reads.
        out_channels: channels it writes.
        factor: (z, y, x) voxels it makes of one.
        per_slice: norm within each slice.
    """

    def __init__(self, in_channels: int, out_channels: int, factor: Grid, per_slice: bool = False) -> None:
        size = (factor[0], factor[1], factor[2])
        super().__init__(
            nn.ConvTranspose3d(in_channels, out_channels, size, size, bias=False),
            InstanceNorm(out_channels, per_slice),
            nn.GELU(),
        )
