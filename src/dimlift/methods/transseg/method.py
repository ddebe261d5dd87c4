"""TransSeg: a 2D transformer whose patch embedding reads windows of slices; the centre slice is segmented.

- Zhang et al., Adapting Pre-trained Vision Transformers from 2D to 3D through Weight Inflation Improves Medical Image
  Segmentation, 2022, https://proceedings.mlr.press/v193/zhang22a.html
"""

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from dimlift.batch import VolumeBatch
from dimlift.methods.supervised.volumes import Supervised
from dimlift.models.slice_window_segmenter import SliceWindowSegmenter


class TransSeg(Supervised):
    """Training on the slices whose windows lie entirely within a patch.

    Args:
        model: encoder of windows and decoder of single slices.
        options: further arguments of `Supervised`.
    """

    reads_whole_depth = True

    def __init__(self, model: SliceWindowSegmenter, **options: Any) -> None:
        super().__init__(model, "segmentation", **options)
        # a slice predicted by several windows depends on the slices of all of them
        self.slice_margin = model.window // 2 * (1 if model.slices_per_window == 1 else 2)

    def loss(self, batch: VolumeBatch) -> Float[Tensor, ""]:
        """Return the criterion over all windows of a batch, on the slices they predict.

        In a patch of as many slices as a window, this is its centre slice. In a patch with fewer slices, every slice
        counts, and the outermost slices are repeated.
        """
        model = cast(SliceWindowSegmenter, self.model)
        depth, margin = batch.image.shape[2], model.window // 2
        first, last = (margin, depth - margin) if depth >= model.window else (0, depth)
        centres = torch.arange(first, last, device=batch.image.device)
        logits = model.forward_windows(batch.image, centres)
        labels = batch.label[:, model.window_slices(centres, depth, model.slices_per_window)]  # (B, windows, S, H, W)
        return self.criterion(logits.flatten(0, 1), labels.flatten(0, 1))
