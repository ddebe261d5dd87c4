"""Segmentation network on windows of slices: one window per slice of the volume, evaluated in chunks."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dimlift.errors import ShapeError, UnknownNameError
from dimlift.models.encoder_protocol import enable_grad_checkpointing, encode_maps, require_maps, validate_volume

PREDICT = ("centre", "all")


class SliceWindowSegmenter(nn.Module):
    """(B, C, D, H, W) -> logits (B, num_classes, D, H, W), each slice from the window around it.

    A window that extends beyond the volume repeats the outermost slice.

    Args:
        encoder: windows (B, C, window, H, W) -> feature maps of depth 1; the window is its `tubelet_depth`.
        decoder: (maps, centre slice) -> logits of depth 1 with `num_classes` channels, or `num_classes * window` if
            all slices of a window are predicted.
        num_classes: channels of the logits.
        predict: "centre": a window predicts its centre slice. "all": a window predicts all its slices, and the class
            probabilities of overlapping windows are averaged.
        chunk_size: number of windows per volume that are evaluated at once.
        gradient_checkpointing: recompute activations of the encoder in the backward pass.

    Raises:
        UnknownNameError: for another `predict`.
        LiftError: if the encoder returns no feature maps.
        ShapeError: if the decoder has another number of output channels.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        num_classes: int,
        *,
        predict: Literal["centre", "all"] = "centre",
        chunk_size: int = 8,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if predict not in PREDICT:
            raise UnknownNameError("predict", predict, PREDICT)
        require_maps(encoder)
        self.window = int(getattr(encoder, "tubelet_depth", 1))
        self.slices_per_window = self.window if predict == "all" else 1
        expected = num_classes * self.slices_per_window
        out_channels = getattr(decoder, "out_channels", expected)
        if out_channels != expected:
            raise ShapeError(
                f"the decoder has {out_channels} output channels; {num_classes} classes on {self.slices_per_window} "
                f"slice(s) of a window need {expected}"
            )
        self.encoder, self.decoder, self.num_classes = encoder, decoder, num_classes
        self.chunk_size = chunk_size
        self.recompute_encoder = gradient_checkpointing and not enable_grad_checkpointing(encoder)

    def forward(
        self, volume: Float[Tensor, "batch channels depth height width"]
    ) -> Float[Tensor, "batch classes depth height width"]:
        """Return the logits of every voxel; with "all" the logarithm of averaged probabilities.

        Raises:
            ShapeError: if the volume has other channels than the encoder was built for.
        """
        validate_volume(self.encoder, volume)
        chunks = torch.arange(volume.shape[2], device=volume.device).split(self.chunk_size)
        if self.slices_per_window == 1:
            logits = [self.forward_windows(volume, centres)[:, :, :, 0].transpose(1, 2) for centres in chunks]
            return torch.cat(logits, dim=2)
        return self._average_windows(volume, chunks)

    def forward_windows(
        self, volume: Float[Tensor, "batch channels depth height width"], centres: Int[Tensor, " windows"]
    ) -> Float[Tensor, "batch windows classes slices height width"]:
        """Return the logits of windows around some slices, for each predicted slice of a window.

        Args:
            volume: the volume.
            centres: indices of the centre slices.
        """
        batch, count = volume.shape[0], len(centres)
        slices = self.window_slices(centres, volume.shape[2], self.window)
        windows = volume[:, :, slices].transpose(1, 2).flatten(0, 1)  # (B * windows, C, window, H, W)
        maps = encode_maps(self.encoder, windows, self.recompute_encoder and self.training)
        middle = self.window // 2
        logits = self.decoder(maps, windows[:, :, middle : middle + 1])
        return logits[:, :, 0].unflatten(1, (self.num_classes, self.slices_per_window)).unflatten(0, (batch, count))

    @staticmethod
    def window_slices(centres: Int[Tensor, " windows"], depth: int, size: int) -> Int[Tensor, "windows size"]:
        """Return the indices of the `size` slices around each centre, clamped to the volume."""
        offsets = torch.arange(size, device=centres.device) - size // 2
        return (centres[:, None] + offsets).clamp(0, depth - 1)

    def _average_windows(self, volume: Tensor, chunks: tuple[Tensor, ...]) -> Tensor:
        batch, depth = volume.shape[0], volume.shape[2]
        total: Tensor | None = None
        counts = torch.zeros(depth, device=volume.device)
        for centres in chunks:
            probabilities = self.forward_windows(volume, centres).float().softmax(dim=2)
            if total is None:
                total = probabilities.new_zeros(batch, self.num_classes, depth, *volume.shape[3:])
            for index in range(self.slices_per_window):
                slices = centres + index - self.slices_per_window // 2
                inside = (slices >= 0) & (slices < depth)  # predictions of repeated slices are dropped
                targets = slices[inside]
                total = total.index_add(2, targets, probabilities[:, inside, :, index].transpose(1, 2))
                counts = counts.index_add(0, targets, torch.ones_like(targets, dtype=counts.dtype))
        if total is None:
            raise ShapeError(f"the volume {tuple(volume.shape)} has no slices; crop it less")
        return (total / counts[:, None, None]).clamp_min(torch.finfo(total.dtype).tiny).log()
