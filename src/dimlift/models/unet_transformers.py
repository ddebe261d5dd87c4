"""The two transformer U-Nets of MONAI, from scratch, for volumes of any size up to what they are built for.

- UNETR: Hatamizadeh et al., 2022, https://arxiv.org/abs/2103.10504
- Swin UNETR: Hatamizadeh et al., 2022, https://arxiv.org/abs/2201.01266
"""

from monai.networks.nets import UNETR, SwinUNETR

from dimlift.models.pad_to_multiple import AnySize, Grid, OneSize

PATCH = 16
"""Voxels along each axis of one token of UNETR."""


def swin_unetr(in_channels: int, classes: int, *, width: int = 24, gradient_checkpointing: bool = False) -> AnySize:
    """MONAI's Swin UNETR with random weights.

    Args:
        in_channels: channels of a volume.
        classes: channels of the answer.
        width: channels of the finest level, a multiple of 12; the paper has 48.
        gradient_checkpointing: recompute activations in the backward pass.
    """
    network = SwinUNETR(in_channels, classes, feature_size=width, use_checkpoint=gradient_checkpointing)
    return AnySize(network, (32, 32, 32))


def unetr(
    in_channels: int,
    classes: int,
    *,
    patch_size: Grid,
    width: int = 16,
    hidden: int = 384,
    heads: int = 6,
) -> OneSize:
    """MONAI's UNETR with random weights; its positions are learnt for one size, to which smaller volumes are padded.

    Args:
        in_channels: channels of a volume.
        classes: channels of the answer.
        patch_size: (depth, height, width) voxels of the largest volume.
        width: channels at full resolution.
        hidden: channels of the twelve transformer layers, a multiple of `heads`; the paper has 768 and 12 heads.
        heads: attention heads.
    """
    size = tuple(-(-n // PATCH) * PATCH for n in patch_size)
    network = UNETR(
        in_channels,
        classes,
        size,
        feature_size=width,
        hidden_size=hidden,
        mlp_dim=4 * hidden,
        num_heads=heads,
    )
    return OneSize(network, size)
