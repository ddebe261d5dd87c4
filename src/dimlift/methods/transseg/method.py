"""TransSeg: a 2D transformer that takes windows of slices in its patch embedding and segments the centre slice.

- Zhang et al., Adapting Pre-trained Vision Transformers from 2D to 3D through Weight Inflation Improves Medical Image
  Segmentation, 2022, https://proceedings.mlr.press/v193/zhang22a.html
"""

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from dimlift.batch import VolumeBatch
from dimlift.methods.supervised.volumes import Supervised
from dimlift.models.slice_window_segmenter import WindowSegmenter


class TransSeg(Supervised):
    """Train a network of windows on the slices whose windows lie whole in a patch.

    Args:
        model: encoder of windows and decoder of single slices.
        training: what `Supervised` takes: criterion, encoder_scale, layer_decay, freeze_encoder_until.

    Attributes:
        reads_whole_depth: prediction asks about each slice once, and hands over its true neighbours with it.
        depth_margin: how many of them on either side an answer depends on.
    """

    reads_whole_depth = True

    def __init__(self, model: WindowSegmenter, **training: Any) -> None:
        super().__init__(model, "segmentation", **training)
        # with several answers in a window, those of the windows around count, and these see as far again
        self.depth_margin = model.window // 2 * (1 if model.slots == 1 else 2)

    def loss(self, batch: VolumeBatch) -> Float[Tensor, ""]:
        """The criterion over all windows of a batch, on the slices they answer for.

        In a patch of as many slices as a window this is its centre slice; in one with fewer, every slice counts and
        the outermost are repeated.
        """
        model = cast(WindowSegmenter, self.model)
        depth, margin = batch.image.shape[2], model.window // 2
        first, last = (margin, depth - margin) if depth >= model.window else (0, depth)
        centres = torch.arange(first, last, device=batch.image.device)
        logits = model.of_windows(batch.image, centres)
        labels = batch.label[:, model.slices_of(centres, depth, model.slots)]  # (B, windows, slots, H, W)
        return self.criterion(logits.flatten(0, 1), labels.flatten(0, 1))
