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


def recompute_stages(encoder: nn.Module) -> bool:
    """Ask the 2D network inside to recompute each of its stages in the backward pass (timm's own switch).

    Returns:
        whether there was such a switch. If not, `recomputed` does it for the encoder as a whole.
    """
    for module in encoder.modules():
        switch = getattr(module, "set_grad_checkpointing", None)
        if callable(switch):
            try:
                switch(True)
            except (AssertionError, NotImplementedError, AttributeError):
                continue  # timm's way of saying that this architecture has none
            return True
    return False


def recomputed(encoder: nn.Module, volume: Tensor) -> Sequence[Tensor]:
    """The maps of `volume`; activations inside the encoder are thrown away and computed again in the backward pass."""
    return checkpoint(encoder, volume, use_reentrant=False)
