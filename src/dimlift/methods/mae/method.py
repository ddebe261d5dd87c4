"""Masked autoencoding of volumes: predict the voxels of masked blocks from the visible ones.

- He et al., 2022, Masked autoencoders are scalable vision learners, https://arxiv.org/abs/2111.06377: targets
  normalised per patch, loss on masked patches only
- Tian et al., 2023, Designing BERT for convolutional networks (SparK), https://arxiv.org/abs/2301.03580: convolutional
  networks, with the mask re-applied inside the network

    L = mean over masked blocks, and their voxels, of (p - (x - mean) / std)^2, mean and std those of the block

Masked voxels are set to 0 at the input, so nothing depends on their values; the stages of a lifted encoder are masked
again. Networks keep their shape: transformers process masked tokens too, unlike the paper's.
"""

from collections import deque
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dimlift.batch import VolumeBatch
from dimlift.methods.mae.kernel_energy import kernel_energy
from dimlift.methods.mae.masking import Visible, masked_stages, sample_visible_blocks
from dimlift.methods.method import Method, ParamGroup
from dimlift.methods.supervised.encoder_layers import param_groups_layer_decay

MIN_STD = 1e-3
"""Least standard deviation, in normalised intensities, of a block that counts: others are background."""


class MaskedVolumeAutoencoder(Method[VolumeBatch]):
    """Masked autoencoder that pretrains the network of an arm.

    Args:
        model: (B, C, D, H, W) -> (B, C, D, H, W); its `encoder`, if lifted, is masked at every stage.
        mask_ratio: fraction of the blocks that is masked.
        block: (depth, height, width) of a block, in voxels.

    Attributes:
        energy_before: kernel energy by stage and depth tap at the start.
        recent: loss of the network, and of the block's mean, of the last batches in evaluation mode.
        stages_masked: whether the mask is re-applied inside the network.
    """

    def __init__(self, model: nn.Module, *, mask_ratio: float = 0.6, block: tuple[int, int, int] = (8, 8, 8)) -> None:
        super().__init__()
        self.model, self.mask_ratio, self.block = model, mask_ratio, block
        self.energy_before = kernel_energy(model)
        self.recent: deque[tuple[Tensor, Tensor]] = deque(maxlen=20)
        self.stages_masked = False

    def forward(self, image: Tensor, visible: Visible | None = None) -> Float[Tensor, "batch channels _ _ _"]:
        """Return the predicted voxels; all voxels are visible if `visible` is None."""
        if visible is None:
            return self.model(image)
        encoder = getattr(self.model, "encoder", self.model)
        with masked_stages(encoder, visible) as self.stages_masked:
            return self.model(image.masked_fill(~visible, 0))

    def loss(self, batch: VolumeBatch) -> Float[Tensor, ""]:
        """Return the mean squared error of the masked blocks; 0 if all of them are background."""
        image = batch.image
        visible = sample_visible_blocks(len(image), image.shape[2:], self.block, self.mask_ratio, image.device)
        predicted = self(image, visible).float()
        targets, counts = normalise_blocks(image.float(), self.block)
        counts = counts & ~visible
        weight = counts.sum().clamp_min(1)
        loss = ((predicted - targets).square() * counts).sum() / weight
        if not self.training and bool(counts.any()):
            self.recent.append((loss.detach(), (targets.square() * counts).sum() / weight))
        return loss

    def param_groups(self, lr: float) -> list[ParamGroup]:
        """Return the parameter groups of the network."""
        return param_groups_layer_decay(self.model, lr)

    def report(self) -> dict[str, Any]:
        """Return the loss of the last evaluated batches, that of the blocks' means, and the kernel energies."""
        facts: dict[str, Any] = {
            "kernel_energy": {"before": self.energy_before, "after": kernel_energy(self.model)},
            "mask_reapplied_at_stages": self.stages_masked,
        }
        if self.recent:
            losses, blind = (float(torch.stack(values).mean()) for values in zip(*self.recent, strict=True))
            facts |= {"reconstruction_loss": losses, "blind_loss": blind}
            facts["blind_predictor"] = "a predictor of the mean of each masked block"
        return facts


def normalise_blocks(
    image: Float[Tensor, "batch channels depth height width"], block: tuple[int, int, int]
) -> tuple[Float[Tensor, "batch channels depth height width"], Bool[Tensor, "batch channels depth height width"]]:
    """Return every voxel with the mean and std of its block removed, and whether its block is not background.

    The last block of an axis may be smaller.
    """
    size = image.shape[2:]
    pad = [side for full, step in zip(size[::-1], block[::-1], strict=True) for side in (0, -full % step)]
    padded, inside = F.pad(image, pad), F.pad(torch.ones_like(image[:1, :1]), pad)

    def block_mean(values: Tensor) -> Tensor:
        mean = F.avg_pool3d(values, block) / F.avg_pool3d(inside, block)
        for axis, step in enumerate(block):
            mean = mean.repeat_interleave(step, axis + 2)
        return mean

    mean = block_mean(padded)
    std = block_mean((padded - mean).square() * inside).sqrt()
    normalised = (padded - mean) / std.clamp_min(MIN_STD)
    d, h, w = size
    return normalised[:, :, :d, :h, :w], (std > MIN_STD)[:, :, :d, :h, :w]
