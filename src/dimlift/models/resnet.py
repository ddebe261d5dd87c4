"""3D ResNet from scratch for classification and regression of volumes (MONAI).

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
"""Type and number of the residual blocks of each stage, by the number of layers."""

GROUPS = 8
"""Largest number of channel groups of a norm."""


def plain_resnet(
    in_channels: int, num_classes: int, *, layers: int = 18, widths: Sequence[int] = (32, 64, 128, 256)
) -> ResNet:
    """Return a network (B, C, D, H, W) -> (B, num_classes) with random weights.

    Group norms replace batch norms: batches of volumes are small, and the last map of a small volume is one voxel.

    Args:
        in_channels: channels of a volume.
        num_classes: number of outputs; 1 for regression.
        layers: a key of `BLOCKS`.
        widths: channels of the four stages, multiples of 8.
    """
    block, counts = BLOCKS[layers]
    network = ResNet(
        block, counts, list(widths), n_input_channels=in_channels, num_classes=num_classes, conv1_t_stride=2
    )
    for module in list(network.modules()):  # the argument `norm` of MONAI does not reach the blocks
        for name, norm in module.named_children():
            if isinstance(norm, nn.BatchNorm3d):
                groups = min(GROUPS, norm.num_features // 2)  # one channel of one voxel would be its own mean
                setattr(module, name, nn.GroupNorm(groups, norm.num_features))
    return network
