"""A plain 3D ResNet from scratch, for one answer a volume: MONAI's.

- He et al., 2015, https://arxiv.org/abs/1512.03385; in 3D: Hara et al., 2017, https://arxiv.org/abs/1711.09577
"""

from collections.abc import Sequence
from typing import Literal

from monai.networks.nets import ResNet
from torch import nn

BLOCKS: dict[int, tuple[Literal["basic", "bottleneck"], list[int]]] = {
    10: ("basic", [1, 1, 1, 1]),
    18: ("basic", [2, 2, 2, 2]),
    34: ("basic", [3, 4, 6, 3]),
    50: ("bottleneck", [3, 4, 6, 3]),
}
"""Kind and number of the residual blocks of each stage, by the number of layers."""

GROUPS = 8
"""Of channels at most, each normalised by itself."""


def plain_resnet(
    in_channels: int, answers: int, *, layers: int = 18, widths: Sequence[int] = (32, 64, 128, 256)
) -> ResNet:
    """(B, C, D, H, W) -> (B, answers), with random weights.

    Norms are over groups of channels: batches of volumes are small, and the last map of a small volume is one voxel.

    Args:
        in_channels: channels of a volume.
        answers: classes, or 1 for regression.
        layers: one of `BLOCKS`.
        widths: channels of the four stages, multiples of 8.
    """
    block, counts = BLOCKS[layers]
    network = ResNet(block, counts, list(widths), n_input_channels=in_channels, num_classes=answers, conv1_t_stride=2)
    for module in list(network.modules()):  # MONAI's argument `norm` does not reach its blocks
        for name, norm in module.named_children():
            if isinstance(norm, nn.BatchNorm3d):
                groups = min(GROUPS, norm.num_features // 2)  # one channel of one voxel would be its own mean
                setattr(module, name, nn.GroupNorm(groups, norm.num_features))
    return network
