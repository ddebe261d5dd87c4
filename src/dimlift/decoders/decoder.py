"""Base class of decoders."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dimlift.decoders.levels import cells_of, validate_levels
from dimlift.decoders.placement import Stride, resample_map
from dimlift.errors import ShapeError

Maps = Sequence[Float[Tensor, "batch _ _ _ _"]]


class Decoder(nn.Module):
    """Feature maps and the volume -> one output at the resolution of the volume.

    Subclasses create their layers in `_build` and apply them in `_decode`.

    Args:
        channels: channels of each map, finest first.
        strides: (z, y, x) stride of each map in voxels, finest first; cell i covers voxels from i * stride on.
        out_channels: channels of the output (classes, for logits).
        decoder_channels: channels of the levels; the default depends on the decoder.
        image_channels: channels of the raw volume, for decoders that also read it at full resolution (`fpn`,
            `unetr`); 0 disables this.
        depth_kernel: depth of the convolutions. 1 decodes slice by slice: slices stay separate, unless the encoder
            strides in depth.
        starts: (z, y, x) voxel at which the first cell of each map starts (`LiftedModule.starts`); 0 if not given.
        gradient_checkpointing: recompute levels in the backward pass (less memory, more time), if supported.

    Raises:
        ShapeError: if channels and strides have different lengths, or the strides decrease.
    """

    default_channels: ClassVar[int] = 64

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[Stride],
        out_channels: int,
        *,
        decoder_channels: int | None = None,
        image_channels: int = 0,
        depth_kernel: int = 3,
        starts: Sequence[Stride] = (),
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.levels = validate_levels(channels, strides)
        self.starts = tuple(starts) if any(any(start) for start in starts) else ()
        self.out_stride: Stride = self.levels[0][1]
        self.out_channels, self.image_channels, self.depth_kernel = out_channels, image_channels, depth_kernel
        self.gradient_checkpointing = gradient_checkpointing
        self._build(decoder_channels or self.default_channels)

    @property
    def per_slice(self) -> bool:
        """Whether norms are computed per slice, as with kernels of depth 1."""
        return self.depth_kernel == 1

    @abstractmethod
    def _build(self, width: int) -> None:
        """Create the layers for `self.levels`; `width` is `decoder_channels`.

        Sets `out_stride` if it is not the stride of the finest map.
        """

    @abstractmethod
    def _decode(self, maps: Maps, image: Tensor) -> Tensor:
        """Return the output on a grid of stride `out_stride`; `image` is the volume."""

    def checkpointed(self, function: Callable[..., Tensor], *inputs: Any) -> Tensor:
        """Return `function(*inputs)`; with gradient checkpointing it is recomputed in the backward pass."""
        if self.gradient_checkpointing and self.training:
            return checkpoint(function, *inputs, use_reentrant=False)
        return function(*inputs)

    def forward(
        self, maps: Maps, image: Float[Tensor, "batch _ depth height width"]
    ) -> Float[Tensor, "batch out_channels depth height width"]:
        """Decode maps, finest first, to the grid of `image`.

        Raises:
            ShapeError: if the number of maps differs from that of the levels.
        """
        if len(maps) != len(self.levels):
            raise ShapeError(f"the decoder was built for {len(self.levels)} maps, got {len(maps)}")
        size = tuple(image.shape[2:])
        if self.starts:
            maps = [
                resample_map(each, stride, cells_of(size, stride), stride, start)
                for each, (_, stride), start in zip(maps, self.levels, self.starts, strict=True)
            ]
        return resample_map(self._decode(maps, image), self.out_stride, size, (1, 1, 1))
