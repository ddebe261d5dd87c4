"""What a whole network needs to know of its encoder, and how activations of it are recomputed to save memory."""

from collections.abc import Sequence
from typing import Protocol, cast

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dimlift.errors import CannotLift, ShapeError


class MapEncoder(Protocol):
    """A network that turns a volume into maps, finest first; a lifted `features_only` network is one.

    Attributes:
        in_channels: channels of a volume.
        channels: channels of each map.
        strides: (z, y, x) voxels per feature voxel of each map.
    """

    in_channels: int
    channels: tuple[int, ...]
    strides: tuple[tuple[int, int, int], ...]

    def __call__(self, volume: Tensor) -> Sequence[Tensor]:
        """(B, C, D, H, W) -> [(B, C_i, D_i, H_i, W_i), ...]."""
        ...


def require_maps(encoder: nn.Module) -> None:
    """Raises: CannotLift, if the encoder answers with logits instead of maps: it has no strides then."""
    if not getattr(encoder, "strides", ()):
        raise CannotLift(
            f"this needs an encoder that gives maps, {type(encoder).__name__} gives none; "
            "lift the network with features_only=True (one that answers with logits is trained as it is)"
        )


def check_volume(encoder: nn.Module, volume: Tensor) -> None:
    """Raises: ShapeError, if the volume has other axes or channels than the encoder reads."""
    wanted = cast(MapEncoder, encoder).in_channels
    if volume.dim() != 5 or volume.shape[1] != wanted:
        raise ShapeError(f"the encoder reads (B, {wanted}, D, H, W), got {tuple(volume.shape)}")


def recompute_stages(encoder: nn.Module) -> bool:
    """Ask the encoder to recompute each of its stages in the backward pass, with the 2D network's own switch.

    Returns:
        whether there was such a switch. If not, `maps_of` can do it for the encoder as a whole.
    """
    switch = getattr(encoder, "set_grad_checkpointing", None)
    if not callable(switch):
        return False
    try:
        switch(True)
    except (AssertionError, NotImplementedError, AttributeError):
        return False  # how a network says that it has none
    return True


def maps_of(encoder: nn.Module, volume: Tensor, recompute: bool) -> Sequence[Tensor]:
    """The maps of `volume`; if `recompute`, activations are thrown away and computed again in the backward pass."""
    return checkpoint(encoder, volume, use_reentrant=False) if recompute else encoder(volume)
