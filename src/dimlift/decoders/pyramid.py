"""Pyramid of feature maps from maps of a single stride, such as those of a plain vision transformer.

Early maps are upsampled by transposed convolutions, a late one may be downsampled, as in UNETR (Hatamizadeh et al.,
2022, https://arxiv.org/abs/2103.10504) and in the UPerNet of BEiT (Bao et al., 2021, https://arxiv.org/abs/2106.08254).
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from dimlift.decoders.blocks import UpsampleConv
from dimlift.decoders.levels import Level, divided


class FeaturePyramid(nn.Module):
    """Maps of one stride -> maps whose strides double; maps of several strides are returned unchanged.

    Args:
        levels: channels and strides of the input maps.
        width: channels of upsampled maps; other maps keep theirs.
        downsample_last: downsample the last map, so that the one before it keeps its stride.
        per_slice: compute norms per slice.

    Attributes:
        levels: channels and strides of the output maps.
    """

    def __init__(
        self, levels: Sequence[Level], width: int, *, downsample_last: bool = False, per_slice: bool = False
    ) -> None:
        super().__init__()
        single = len(levels) > 1 and len({stride for _, stride in levels}) == 1
        self.steps = nn.ModuleList()
        self.levels: list[Level] = []
        for index, (channels, stride) in enumerate(levels):
            doublings = len(levels) - 1 - index - downsample_last if single else 0
            if doublings < 0:
                self.steps.append(nn.MaxPool3d((1, 2, 2), ceil_mode=True))
                self.levels.append((channels, (stride[0], 2 * stride[1], 2 * stride[2])))
                continue
            step = nn.Sequential()
            for _ in range(doublings):
                factor = tuple(2 if size >= 2 else 1 for size in stride)
                if max(factor) == 1:
                    break
                step.append(UpsampleConv(channels, width, factor, per_slice))
                channels, stride = width, divided(stride, factor)
            self.steps.append(step)
            self.levels.append((channels, stride))

    def forward(self, maps: Sequence[Float[Tensor, "batch _ _ _ _"]]) -> list[Float[Tensor, "batch _ _ _ _"]]:
        """Return the pyramid, finest first."""
        return [step(each) for step, each in zip(self.steps, maps, strict=True)]
