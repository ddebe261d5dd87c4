"""Interface of encoders that return feature maps, and activation checkpointing of such encoders."""

from collections.abc import Sequence
from typing import Protocol, cast

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dimlift.errors import LiftError, ShapeError


class FeatureMapEncoder(Protocol):
    """A network that turns a volume into feature maps, finest first, such as one lifted with `features_only=True`.

    Attributes:
        in_channels: channels of a volume.
        channels: channels of each map.
        strides: (z, y, x) stride of each map, in voxels: cell i covers voxels from i * stride to (i + 1) * stride, and
            the last cell may extend beyond the volume.
    """

    in_channels: int
    channels: tuple[int, ...]
    strides: tuple[tuple[float, float, float], ...]

    def __call__(self, volume: Tensor) -> Sequence[Tensor]:
        """(B, C, D, H, W) -> [(B, C_i, D_i, H_i, W_i), ...]."""
        ...


def map_starts(encoder: object) -> tuple[tuple[float, float, float], ...]:
    """Return the (z, y, x) voxel at which the first cell of each map starts; empty if all start at 0."""
    return getattr(encoder, "starts", ())


def require_maps(encoder: nn.Module) -> None:
    """Check that an encoder returns feature maps.

    Raises:
        LiftError: if it has no strides, as a network that returns logits.
    """
    if not getattr(encoder, "strides", ()):
        raise LiftError(
            f"an encoder that returns feature maps is needed, {type(encoder).__name__} returns none; lift the network "
            "with features_only=True (a network that returns logits is trained as it is)"
        )


def validate_volume(encoder: nn.Module, volume: Tensor) -> None:
    """Check that a volume fits an encoder.

    Raises:
        ShapeError: if it has other axes or channels.
    """
    in_channels = cast(FeatureMapEncoder, encoder).in_channels
    if volume.dim() != 5 or volume.shape[1] != in_channels:
        raise ShapeError(f"the encoder reads (B, {in_channels}, D, H, W), got {tuple(volume.shape)}")


def enable_grad_checkpointing(encoder: nn.Module) -> bool:
    """Enable the activation checkpointing of the encoder, stage by stage.

    Returns:
        Whether the encoder supports it. If not, `encode_maps` can checkpoint the encoder as a whole.
    """
    switch = getattr(encoder, "set_grad_checkpointing", None)
    if not callable(switch):
        return False
    try:
        switch(True)
    except (AssertionError, NotImplementedError, AttributeError):  # raised by networks without checkpointing
        return False
    return True


def encode_maps(encoder: nn.Module, volume: Tensor, recompute: bool) -> Sequence[Tensor]:
    """Return the feature maps of a volume; `recompute` recomputes activations in the backward pass."""
    return checkpoint(encoder, volume, use_reentrant=False) if recompute else encoder(volume)
