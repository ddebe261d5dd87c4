"""Transformer U-Nets of MONAI, from scratch.

- UNETR: Hatamizadeh et al., 2022, https://arxiv.org/abs/2103.10504
- Swin UNETR: Hatamizadeh et al., 2022, https://arxiv.org/abs/2201.01266
"""

from monai.networks.nets import UNETR, SwinUNETR

from dimlift.models.pad_to_multiple import Grid, PadToMultiple, PadToSize

PATCH = 16
"""Voxels along each axis of a UNETR token."""


def swin_unetr(
    in_channels: int, num_classes: int, *, feature_size: int = 24, gradient_checkpointing: bool = False
) -> PadToMultiple:
    """Return MONAI's Swin UNETR with random weights, for volumes of any size.

    Args:
        in_channels: channels of a volume.
        num_classes: channels of the logits.
        feature_size: channels of the finest level, a multiple of 12; 48 in the paper.
        gradient_checkpointing: recompute activations in the backward pass.
    """
    network = SwinUNETR(in_channels, num_classes, feature_size=feature_size, use_checkpoint=gradient_checkpointing)
    return PadToMultiple(network, (32, 32, 32))


def unetr(
    in_channels: int,
    num_classes: int,
    *,
    patch_size: Grid,
    feature_size: int = 16,
    hidden_size: int = 384,
    num_heads: int = 6,
) -> PadToSize:
    """Return MONAI's UNETR with random weights.

    Its position embeddings are learnt for one size, to which smaller volumes are padded.

    Args:
        in_channels: channels of a volume.
        num_classes: channels of the logits.
        patch_size: (depth, height, width) voxels of the largest volume.
        feature_size: channels at full resolution.
        hidden_size: channels of the twelve transformer layers, a multiple of `num_heads`; 768 in the paper.
        num_heads: attention heads; 12 in the paper.
    """
    size = tuple(-(-n // PATCH) * PATCH for n in patch_size)
    network = UNETR(
        in_channels,
        num_classes,
        size,
        feature_size=feature_size,
        hidden_size=hidden_size,
        mlp_dim=4 * hidden_size,
        num_heads=num_heads,
    )
    return PadToSize(network, size)
