"""What every decoder is: built for the maps of an encoder, it answers for every voxel of the volume."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dimlift.decoders.blocks import Grid, resize
from dimlift.decoders.levels import checked_levels
from dimlift.errors import ShapeError

Maps = Sequence[Float[Tensor, "batch _ _ _ _"]]


class Decoder(nn.Module):
    """Maps of an encoder and the volume -> one map at the resolution of the volume.

    A decoder says in `_build` what it consists of and in `_decode` what it does; what it asks for, and that its answer
    lies on the volume's grid, is the same for all.

    Args:
        channels: channels of each map, finest first.
        strides: (z, y, x) voxels per feature voxel of each map, finest first.
        out_channels: channels of the answer (classes, for logits).
        width: channels of its levels; each decoder says of which, and has a default of its own.
        image_channels: channels of the raw volume where it is to be read at full resolution too, by decoders that
            can ("light", "unetr"); 0 leaves it out.
        depth_kernel: depth of the convolutions. 1 works slice by slice: no slice sees another, unless the encoder
            strides in depth.
        gradient_checkpointing: recompute levels in the backward pass (less memory, more time), in decoders that can.

    Raises:
        ShapeError: if channels and strides do not fit together, or the strides fall.
    """

    default_width: ClassVar[int] = 64

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[Grid],
        out_channels: int,
        *,
        width: int | None = None,
        image_channels: int = 0,
        depth_kernel: int = 3,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.levels = checked_levels(channels, strides)
        self.out_channels, self.image_channels, self.depth_kernel = out_channels, image_channels, depth_kernel
        self.gradient_checkpointing = gradient_checkpointing
        self._build(width or self.default_width)

    @property
    def per_slice(self) -> bool:
        """Whether norms stay within a slice, as kernels of depth 1 do."""
        return self.depth_kernel == 1

    @abstractmethod
    def _build(self, width: int) -> None:
        """Make the layers for `self.levels`."""

    @abstractmethod
    def _decode(self, maps: Maps, image: Tensor) -> Tensor:
        """The answer on any grid; `image` gives the volume's and whatever else is read of it."""

    def recomputed(self, function: Callable[..., Tensor], *given: Any) -> Tensor:
        """`function(*given)`, computed once more in the backward pass where the decoder was told to save memory."""
        if self.gradient_checkpointing and self.training:
            return checkpoint(function, *given, use_reentrant=False)
        return function(*given)

    def forward(
        self, maps: Maps, image: Float[Tensor, "batch _ depth height width"]
    ) -> Float[Tensor, "batch out_channels depth height width"]:
        """Decode `maps`, finest first, to the grid of `image`.

        Raises:
            ShapeError: if there are not as many maps as the decoder was built for.
        """
        if len(maps) != len(self.levels):
            raise ShapeError(f"decoder was built for {len(self.levels)} maps, got {len(maps)}")
        return resize(self._decode(maps, image), tuple(image.shape[2:]))
