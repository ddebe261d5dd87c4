"""What a whole network needs to know of its encoder, and how activations of it are recomputed to save memory."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


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


def gives_maps(encoder: nn.Module) -> bool:
    """Whether the encoder hands out maps: one that answers with logits has no strides."""
    return bool(getattr(encoder, "strides", ()))


def recompute_stages(encoder: nn.Module) -> bool:
    """Ask the encoder to recompute each of its stages in the backward pass, with the 2D network's own switch.

    Returns:
        whether there was such a switch. If not, `recomputed` does it for the encoder as a whole.
    """
    switch = getattr(encoder, "set_grad_checkpointing", None)
    if not callable(switch):
        return False
    try:
        switch(True)
    except (AssertionError, NotImplementedError, AttributeError):
        return False  # how a network says that it has none
    return True


def recomputed(encoder: nn.Module, volume: Tensor) -> Sequence[Tensor]:
    """The maps of `volume`; activations inside the encoder are thrown away and computed again in the backward pass."""
    return checkpoint(encoder, volume, use_reentrant=False)
