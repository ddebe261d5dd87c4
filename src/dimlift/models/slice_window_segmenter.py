"""A network that reads windows of slices, over every slice of a volume: one window for each, a few at a time."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dimlift.errors import ShapeError, UnknownName
from dimlift.models.encoder_protocol import check_volume, maps_of, recompute_stages, require_maps

PREDICT = ("centre", "all")


class WindowSegmenter(nn.Module):
    """(B, C, D, H, W) -> logits (B, classes, D, H, W), slice by slice from the window around each.

    A window that reaches beyond the volume repeats the outermost slice.

    Args:
        encoder: turns windows (B, C, window, H, W) into maps of depth 1; has `tubelet`, the slices of a window.
        decoder: turns (maps, centre slice) into logits of depth 1, with `classes` channels, or `classes * window` if
            all slices of a window are predicted.
        classes: channels of the answer.
        predict: "centre": a window answers for its centre slice. "all": for all its slices, and the class chances
            that windows give a slice are averaged.
        windows_at_once: how many windows of each volume are in memory together.
        gradient_checkpointing: recompute activations of the encoder in the backward pass.

    Raises:
        UnknownName: for another `predict`.
        CannotLift: if the encoder gives no maps.
        ShapeError: if the decoder answers another number of channels.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        classes: int,
        *,
        predict: Literal["centre", "all"] = "centre",
        windows_at_once: int = 8,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if predict not in PREDICT:
            raise UnknownName("way to predict", predict, PREDICT)
        require_maps(encoder)
        self.window = int(getattr(encoder, "tubelet", 1))
        self.slots = self.window if predict == "all" else 1
        answers = getattr(decoder, "out_channels", classes * self.slots)
        if answers != classes * self.slots:
            raise ShapeError(
                f"the decoder answers {answers} channels; {classes} classes on {self.slots} slice(s) of a window "
                f"need {classes * self.slots}"
            )
        self.encoder, self.decoder, self.classes = encoder, decoder, classes
        self.windows_at_once = windows_at_once
        self.recompute_whole = gradient_checkpointing and not recompute_stages(encoder)

    def forward(
        self, volume: Float[Tensor, "batch channels depth height width"]
    ) -> Float[Tensor, "batch classes depth height width"]:
        """Logits of every voxel; with "all" the logarithm of the averaged chances.

        Raises:
            ShapeError: if the volume has other channels than the encoder was built for.
        """
        check_volume(self.encoder, volume)
        parts = torch.arange(volume.shape[2], device=volume.device).split(self.windows_at_once)
        if self.slots == 1:
            answers = [self.of_windows(volume, centres)[:, :, :, 0].transpose(1, 2) for centres in parts]
            return torch.cat(answers, dim=2)
        return self._averaged(volume, parts)

    def of_windows(
        self, volume: Float[Tensor, "batch channels depth height width"], centres: Int[Tensor, " windows"]
    ) -> Float[Tensor, "batch windows classes slots height width"]:
        """Logits of the windows around some slices; a slot is a slice of its window, or the centre alone."""
        batch, count = volume.shape[0], len(centres)
        slices = self.slices_of(centres, volume.shape[2], self.window)
        windows = volume[:, :, slices].transpose(1, 2).flatten(0, 1)  # (B * windows, C, window, H, W)
        maps = maps_of(self.encoder, windows, self.recompute_whole and self.training)
        middle = self.window // 2
        logits = self.decoder(maps, windows[:, :, middle : middle + 1])
        return logits[:, :, 0].unflatten(1, (self.classes, self.slots)).unflatten(0, (batch, count))

    @staticmethod
    def slices_of(centres: Int[Tensor, " windows"], depth: int, slots: int) -> Int[Tensor, "windows slots"]:
        """The slices around some, the outermost repeated where there is none."""
        offsets = torch.arange(slots, device=centres.device) - slots // 2
        return (centres[:, None] + offsets).clamp(0, depth - 1)

    def _averaged(self, volume: Tensor, parts: tuple[Tensor, ...]) -> Tensor:
        batch, depth = volume.shape[0], volume.shape[2]
        total: Tensor | None = None
        votes = torch.zeros(depth, device=volume.device)
        for centres in parts:
            chances = self.of_windows(volume, centres).float().softmax(dim=2)
            if total is None:
                total = chances.new_zeros(batch, self.classes, depth, *volume.shape[3:])
            for slot in range(self.slots):
                slices = centres + slot - self.slots // 2
                inside = (slices >= 0) & (slices < depth)  # a repeated slice is asked, and its answer dropped
                places = slices[inside]
                total = total.index_add(2, places, chances[:, inside, :, slot].transpose(1, 2))
                votes = votes.index_add(0, places, torch.ones_like(places, dtype=votes.dtype))
        if total is None:
            raise ShapeError(f"the volume {tuple(volume.shape)} has no slices; crop it less")
        return (total / votes[:, None, None]).clamp_min(torch.finfo(total.dtype).tiny).log()
